"""Installs locked packages into the environment that this Python belongs to, whatever pip is set to do elsewhere.

Usage: python -I install_packages.py REQUIREMENTS...

pip's settings (files and ``PIP_...`` variables) may send every package somewhere else. Only that is taken from them;
indexes, certificates and proxies count as they are: https://pip.pypa.io/en/stable/topics/configuration/
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys

ELSEWHERE = ("user", "target", "prefix", "root", "python", "dry-run")
INSTALL = ("install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:")
PIP = (sys.executable, "-I", "-m", "pip")


def main(requirements: list[str]) -> int:
    """Install them, one file after the other; returns the exit code of pip."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    environ |= read_settings() | {"PIP_CONFIG_FILE": os.devnull}
    for path in requirements:
        code = subprocess.run([*PIP, *INSTALL, "-r", path], env=environ, check=False).returncode
        if code:
            return code
    return 0


def read_settings() -> dict[str, str]:
    """pip's settings as variables, without those that install elsewhere."""
    listed = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True, check=True).stdout
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listed.splitlines():
        key, separator, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if separator and section in found and name not in ELSEWHERE:
            found[section][name] = str(ast.literal_eval(value))
    merged = found["global"] | found["install"] | found[":env:"]  # the later one outranks
    return {f"PIP_{name.upper().replace('-', '_')}": value for name, value in merged.items()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
