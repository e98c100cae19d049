"""The set-up: what is there, what it will become, and doing it. With questions (``wizard``) or without."""
