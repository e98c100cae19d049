"""Taking over a deployment of the original system: reading what it has, deciding, and leaving it as it is."""
