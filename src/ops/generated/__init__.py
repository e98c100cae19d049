"""Files that are made from the code and the catalogue: ``make catalog``."""
