"""The measurements. See ``python -m bench``."""
