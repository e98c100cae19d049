"""The questions of the first set-up, and of every later one.

``conversation`` asks where to store the secrets and leads through the rest. What comes after that first question
is imported only then, so that the question is there sooner.
"""
