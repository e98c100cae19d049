"""The CCTV Face Detection system."""
