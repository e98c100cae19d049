"""How an import file is read: its encoding, its format, its lines, and the names in it."""
