"""The commands of ``manage_secrets.py``, each imported when it is called."""
