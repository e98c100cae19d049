"""Everything after the set-up: change, rotate, move, back up, restore."""
