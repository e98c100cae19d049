"""What people are asked, shown and allowed of each store: one file for each, found by its name."""
