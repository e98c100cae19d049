#!/usr/bin/env python3
"""Pack the function for AWS Secrets Manager's automatic rotation: ``make lambda``, see docs/aws-rotation.md.

The same sources give the same bytes, so a function that did not change need not be deployed again. The SDK is part of
AWS's Python runtimes and is not packed.
"""

from __future__ import annotations

import base64
import hashlib
import sys
import zipfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
ARCHIVE = PROJECT / "build/rotation-lambda.zip"
FILES = (
    "config/catalog.toml",
    "src/__init__.py",
    "src/ops/__init__.py",
    "src/ops/aws_lambda/*.py",
    "src/ops/aws_rotation.py",
    "src/ops/values/__init__.py",
    "src/ops/values/generate.py",
    "src/ops/values/grace.py",
    "src/utils/__init__.py",
    "src/utils/secrets/*.py",
    "src/utils/secrets/*.tsv",
)
EARLIEST = (1980, 1, 1, 0, 0, 0)


def main() -> int:
    """Write the archive."""
    ARCHIVE.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(ARCHIVE, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for pattern in FILES for path in PROJECT.glob(pattern)):
            entry = zipfile.ZipInfo(str(path.relative_to(PROJECT)), EARLIEST)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes())
    digest = base64.b64encode(hashlib.sha256(ARCHIVE.read_bytes()).digest()).decode()
    sys.stdout.write(f"{ARCHIVE.relative_to(PROJECT)}, CodeSha256 {digest}\nHow to deploy it: docs/aws-rotation.md\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
