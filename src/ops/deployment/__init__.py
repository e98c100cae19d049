"""One deployment: where its files are, what its settings say, and everything that reads or writes them."""
