"""Whether the packages that the tools need can be imported by this Python: ``python -I check_environment.py``.

Says nothing and exits with 1 when they cannot: the Python was upgraded or removed, or something was left out.
"""

import importlib.util
import sys

NEEDED = (
    *("azure.identity", "azure.keyvault.secrets", "boto3", "click", "cryptography", "dotenv", "filelock", "hvac"),
    *("questionary", "rich", "zxcvbn"),
)


def is_there(name: str) -> bool:
    """Whether a package is found; looking for a part of one imports the whole."""
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False


if __name__ == "__main__":
    sys.exit(not all(map(is_there, NEEDED)))
