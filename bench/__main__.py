"""Compares with peers in the same run, prints the ratios, and writes them to ``bench/results.md``.

    make bench

The file holds ratios, which another machine can be compared with, and the versions of what took part.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from cryptography.fernet import Fernet
from dotenv import dotenv_values

from src.utils.secrets import SecretsManager
from src.utils.secrets import get_secret as get_secret_of_process
from src.utils.secrets import manager as manager_module
from src.utils.secrets.backends.file import FileBackend
from src.utils.secrets.changes import Change
from src.utils.secrets.masterkey import MasterKey
from src.utils.secrets.settings import Settings
from tests.servers.aws import running_aws
from tests.servers.vault import running_vault

from .measure import Result, expressions, processes

PROJECT = Path(__file__).resolve().parent.parent
PACKAGES = ("cryptography", "botocore", "hvac", "python-dotenv")
VALUE = "x" * 43

OURS = "from src.utils.secrets import get_secret; assert get_secret('SECRET_5')"
FERNET = (
    "import json, os\n"
    "from cryptography.fernet import Fernet\n"
    "key = open(os.environ['SECRETS_MASTER_KEY_FILE']).read()\n"
    "token = open(os.environ['SECRETS_FILE_PATH'], 'rb').read()\n"
    "assert json.loads(Fernet(key).decrypt(token))['secrets']['SECRET_5']"
)
BOTOCORE = (
    "import json, os\n"
    "from botocore.session import get_session\n"
    "client = get_session().create_client('secretsmanager', region_name=os.environ['AWS_REGION'])\n"
    "answer = client.get_secret_value(SecretId='cctv-face-detection')\n"
    "assert json.loads(answer['SecretString'])['SECRET_5']"
)
HVAC = (
    "import hvac\n"
    "answer = hvac.Client().secrets.kv.v2.read_secret_version('cctv', raise_on_deleted_version=True)\n"
    "assert answer['data']['data']['SECRET_5']"
)
BARE_IMPORT = "import os, json, threading, enum"


def python(code: str, *flags: str) -> list[str]:
    """The command line that runs ``code``."""
    return [sys.executable, *flags, "-c", code]


def environ_of(folder: Path, **more: str) -> dict[str, str]:
    """What a measured process has set."""
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(PROJECT), **more}


def make_file(folder: Path, count: int) -> dict[str, str]:
    """An encrypted file with ``count`` secrets; returns the settings for it."""
    key_file, path = folder / f"{count}.key", folder / f"{count}.enc"
    if not path.exists():
        key_file.touch(0o400)
        key_file.write_text(Fernet.generate_key().decode())
        store = FileBackend(str(path), MasterKey([key_file.read_text()], "the benchmark"))
        store.save({f"SECRET_{number}": Change(VALUE) for number in range(count)})
    return {"SECRETS_BACKEND": "file", "SECRETS_FILE_PATH": str(path), "SECRETS_MASTER_KEY_FILE": str(key_file)}


def hot_path(folder: Path) -> Iterator[Result]:
    """One read, again and again."""
    manager = SecretsManager(settings=Settings(make_file(folder, 11)))
    manager_module._manager = manager  # noqa: SLF001
    os.environ["SECRET_5"] = VALUE
    names = {
        "get_secret": get_secret_of_process,
        "method": manager.get_secret,
        "environ_get": os.environ.get,
        "table": {"SECRET_5": VALUE},
    }
    assert get_secret_of_process("SECRET_5") == VALUE
    for ours, title in (
        ("get_secret('SECRET_5')", "get_secret(name)"),
        ("method('SECRET_5')", "manager.get_secret(name)"),
    ):
        yield Result(f"hot {title}", "os.environ.get(name)", *expressions(ours, "environ_get('SECRET_5')", names), 0.35)
    yield Result(
        "hot get_secret(name)",
        "dict.get(name)",
        *expressions("get_secret('SECRET_5')", "table.get('SECRET_5')", names),
        6,
    )


def cold_processes(folder: Path) -> Iterator[Result]:
    """A process that starts, reads one secret, and ends."""
    file_environ = environ_of(folder, **make_file(folder, 11))
    yield Result(
        "cold process, encrypted file",
        "the smallest Fernet script",
        *processes(python(OURS), python(FERNET), file_environ),
        1.15,
    )
    yield Result(
        "import src.utils.secrets (5 ms more at the most)",
        BARE_IMPORT,
        *processes(python("import src.utils.secrets", "-S"), python(BARE_IMPORT, "-S"), file_environ, 60),
        1.25,
    )
    values = {f"SECRET_{number}": VALUE for number in range(11)}
    with running_aws() as aws:
        aws.client().create_secret(Name="cctv-face-detection", SecretString=json.dumps(values))
        environ = environ_of(folder, **aws.environ())
        yield Result("cold process, AWS", "bare botocore", *processes(python(OURS), python(BOTOCORE), environ), 1.05)
    with running_vault() as vault:
        vault.client().secrets.kv.v2.create_or_update_secret("cctv", values)
        environ = environ_of(folder, **vault.environ())
        yield Result("cold process, Vault", "bare hvac", *processes(python(OURS), python(HVAC), environ), 1.10)


def large_file(folder: Path) -> Iterator[Result]:
    """Ten thousand secrets."""
    settings = make_file(folder, 10_000)
    key = Path(settings["SECRETS_MASTER_KEY_FILE"]).read_text()
    path = settings["SECRETS_FILE_PATH"]

    def ours() -> object:
        return FileBackend(path, MasterKey([key], "the benchmark")).load()

    def theirs() -> object:
        return json.loads(Fernet(key).decrypt(Path(path).read_bytes()))

    yield Result(
        "load of 10,000 secrets",
        "Fernet and json.loads",
        *expressions("ours()", "theirs()", {"ours": ours, "theirs": theirs}, 3),
        1.5,
    )


def reads_during_refreshes(folder: Path) -> Iterator[Result]:
    """The slowest reads of 64 threads, with and without a store that changes all the time."""
    settings = make_file(folder, 12)

    def slowest(*, refreshing: bool) -> float:
        manager = SecretsManager(settings=Settings(settings | {"SECRETS_CACHE_TTL": "0.05" if refreshing else "300"}))
        manager.get_secret("SECRET_5")
        stop, times = threading.Event(), []

        def read() -> None:
            own = []
            while not stop.is_set():
                start = time.perf_counter()
                for _ in range(100):
                    manager.get_secret("SECRET_5")
                own.append(time.perf_counter() - start)
                time.sleep(0.001)
            times.extend(own)

        threads = [threading.Thread(target=read) for _ in range(64)]
        for thread in threads:
            thread.start()
        store = FileBackend(
            settings["SECRETS_FILE_PATH"], MasterKey([Path(settings["SECRETS_MASTER_KEY_FILE"]).read_text()], "x")
        )
        end, number = time.monotonic() + 4, 0
        while time.monotonic() < end:
            # The same writes in both runs: only the refreshes differ.
            store.save({"OTHER": Change(str(number))})
            number += 1
            time.sleep(0.05)
        stop.set()
        for thread in threads:
            thread.join()
        return statistics.quantiles(times, n=1000)[-1]

    rounds = [(slowest(refreshing=True), slowest(refreshing=False)) for _ in range(3)]
    ours, theirs = min(pair[0] for pair in rounds), min(pair[1] for pair in rounds)
    yield Result(
        "99.9th percentile of 100 reads, 64 threads, refreshes", "the same without refreshes", ours, theirs, 1.2
    )


def docker_files(folder: Path) -> Iterator[Result]:
    """``generate_docker_secrets.sh``, against the cold process, and with a thousand secrets against eleven."""
    commands = {}
    for count in (11, 1000):
        project = folder / f"project-{count}"
        (project / "config").mkdir(parents=True)
        if count == 11:  # noqa: PLR2004
            shutil.copy(PROJECT / "config/catalog.toml", project / "config/catalog.toml")
        else:
            (project / "config/catalog.toml").write_text(_large_catalog(count))
        environ = environ_of(folder, XDG_CONFIG_HOME=str(folder / f"home-{count}"))
        script = str(PROJECT / "scripts/setup_secrets.py")
        subprocess.run(
            [sys.executable, script, "--non-interactive", "--backend", "file", "--project-directory", str(project)],
            env=environ,
            check=True,
            capture_output=True,
        )
        commands[count] = [str(PROJECT / "scripts/generate_docker_secrets.sh"), "--project-directory", str(project)]
        subprocess.run(commands[count], env=environ, check=True, capture_output=True)
    lines = dotenv_values(folder / "project-11/.env.production")
    cold = environ_of(folder, XDG_CONFIG_HOME=str(folder / "home-11"))
    cold |= {name: value or "" for name, value in lines.items()}
    cold["SECRETS_FILE_PATH"] = str(folder / "project-11/config/secrets.enc")
    read = python("from src.utils.secrets import get_secret; assert get_secret('SECRET_KEY')")
    outside = environ_of(folder)
    ours, theirs = processes([*commands[11], "--check"], read, cold, 15)
    yield Result("generate_docker_secrets.sh --check, 11 secrets", "the cold process", ours, theirs, 1.6)
    ours, theirs = processes(["env", *commands[1000], "--check"], ["env", *commands[11], "--check"], outside, 10)
    yield Result("the same, 1,000 secrets", "11 secrets", ours, theirs, 3)


def _large_catalog(count: int) -> str:
    text = (PROJECT / "config/catalog.toml").read_text()
    head = text.split("# A feature", 1)[0]
    one = (
        '[[secret]]\nname = "SECRET_{0}"\ngroup = "all"\ndescription = "Number {0}"\ninput = "generate"\nlength = 43\n'
        'docker_file = "secret_{0}.txt"\nrotation_days = 90\nconsumers = ["app"]\n'
    )
    return head + "\n".join(one.format(number) for number in range(count))


def main() -> None:
    """Measure everything."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in (hot_path, cold_processes, large_file, reads_during_refreshes, docker_files):
            for result in part(folder):
                rows.append(result)
                _print(result)
    (PROJECT / "bench/results.md").write_text(_table(rows))


def _print(result: Result) -> None:
    verdict = "ok" if result.ratio <= result.target else "MISSED"
    print(
        f"{result.what} / {result.peer}: {result.ratio:.2f} (target {result.target:g}) {verdict}"
        f"   [{_shown(result.ours)} / {_shown(result.theirs)}]",
        flush=True,
    )


def _shown(seconds: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.1f} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def _table(rows: list[Result]) -> str:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`: ours by the peer's time, measured in turns in one run; below 1 is faster.",
        f"Python {platform.python_version()}, {versions}.",
        "",
        "| what | peer | ratio | target | ours | peer's |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        lines.append(
            f"| {row.what} | {row.peer} | **{row.ratio:.2f}** | {row.target:g} | {_shown(row.ours)} "
            f"| {_shown(row.theirs)} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
