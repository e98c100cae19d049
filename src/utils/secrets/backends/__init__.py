"""The stores: ``base.py`` says what a store is, each other file is one store, imported only when it is chosen."""
