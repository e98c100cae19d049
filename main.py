#!/usr/bin/env python3
"""Starts the application. Refuses to start while a required secret is missing."""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from src.utils.interpreter import PROJECT_DIRECTORY, use_project_interpreter

use_project_interpreter("argon2", "dotenv", "jwt", "psycopg", "redis", "starlette", "uvicorn")

from src.app.start import start

if __name__ == "__main__":
    sys.exit(start(PROJECT_DIRECTORY))
