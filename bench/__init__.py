"""What is measured, against whom. See ``python -m bench``."""
