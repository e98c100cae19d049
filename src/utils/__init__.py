"""What every part of the system shares."""
