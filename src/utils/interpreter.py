"""Runs a program of this project with the project's own Python, whichever Python it was started with.

Standard library only, and nothing newer than Python 3.8 understands: this runs before anything is installed.
"""

import importlib.util
import os
import shlex
import sys

PROJECT_DIRECTORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def use_project_interpreter(*needed: str) -> None:
    """Start again under ``.venv/bin/python`` when it is there, or say how to make it.

    What ``PYTHONPATH`` names is for other programs, and is not looked through.

    Args:
        needed: Packages that the program cannot do without.
    """
    environment = os.path.join(PROJECT_DIRECTORY, ".venv")
    python = os.path.join(environment, "bin", "python")
    if os.path.realpath(sys.prefix) != os.path.realpath(environment) and os.access(python, os.X_OK):
        os.execv(python, [python, *sys.argv])  # noqa: S606
    foreign = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [path for path in sys.path if path not in foreign or path == PROJECT_DIRECTORY]
    require_packages(*needed)


def require_packages(*needed: str) -> None:
    """End with the command that installs the packages ``needed`` if one is missing."""
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        elsewhere = os.path.realpath(os.getcwd()) != os.path.realpath(PROJECT_DIRECTORY)
        command = ["make", *(["-C", PROJECT_DIRECTORY] if elsewhere else []), "install"]
        hint = " ".join(map(shlex.quote, command))
        sys.stderr.write("error: Python packages are missing: {}\nhint: {}\n".format(", ".join(missing), hint))
        sys.exit(1)
