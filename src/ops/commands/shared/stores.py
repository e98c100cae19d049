"""Stores as the help names them."""

from __future__ import annotations

STORES = "file, file:PATH, aws, aws:REGION/ID, vault, vault:MOUNT/PATH, azure, azure:URL, env"
