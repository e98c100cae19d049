#!/usr/bin/env python3
"""Looks after the secrets once they are set up."""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from src.utils.interpreter import use_project_interpreter

use_project_interpreter("click", "cryptography", "dotenv")

from src.ops.commands.group import main
from src.ops.commands.shared.options import run_click

if __name__ == "__main__":
    sys.exit(run_click(main))
