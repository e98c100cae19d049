"""Runs the project's scripts in forks of one interpreter that has already imported their modules.

Each fork is a separate process with its own arguments, environment, umask and standard files. It runs the script from
the first line and ends like every interpreter. This saves the 300 ms in which Python starts and imports, some
thousands of times. ``test_a_fork_makes_the_same_calls_as_a_fresh_interpreter`` compares the two.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.conftest import PROJECT

TIMEOUT = 120
PROGRAM = """
import atexit, importlib, json, os, runpy, signal, sys

def learn(path):
    # What one run has imported, the next fork has from the start.
    for name in open(path).read().split():
        if name not in sys.modules:
            try:
                importlib.import_module(name)
            except Exception:
                pass

def note_modules(path):
    with open(path, "w") as file:
        file.write("\\n".join(sys.modules))

def become(request):
    os.chdir(request["directory"])
    os.umask(request["umask"])
    os.environ.clear()
    os.environ.update(request["environ"])
    for number, path in enumerate(request["files"]):
        descriptor = os.open(path, os.O_RDWR)
        os.dup2(descriptor, number)
        os.close(descriptor)
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", errors="backslashreplace")
    sys.argv = request["arguments"]
    if request["modules"]:
        atexit.register(note_modules, request["modules"])
    if request["stop"]:
        os.kill(os.getpid(), signal.SIGSTOP)

def serve():
    while line := sys.stdin.readline():
        request = json.loads(line)
        child = os.fork()
        if not child:
            become(request)
            return request
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        if request["modules"] and os.path.exists(request["modules"]):
            learn(request["modules"])
        print(os.waitstatus_to_exitcode(status), flush=True)

request = serve()
if request is None:
    os._exit(0)
if request["is_module"]:
    runpy.run_module(request["arguments"][0], run_name="__main__", alter_sys=True)
else:
    sys.path[0] = os.path.dirname(request["arguments"][0])
    runpy.run_path(request["arguments"][0], run_name="__main__")
"""


@dataclass(frozen=True)
class Done:
    """How a run ended.

    Attributes:
        returncode: The exit code, or the signal's number with a minus.
        stdout: Its standard output.
        stderr: Its standard error.
    """

    returncode: int
    stdout: str
    stderr: str


class Interpreter:
    """One interpreter that forks for each run.

    Args:
        directory: A folder for its own files.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "PYTHONHASHSEED": "0", "LANG": "C.UTF-8"}
        self._server = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environ,
            cwd=PROJECT,
            text=True,
            bufsize=1,
        )

    def __enter__(self) -> Interpreter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(TIMEOUT)
        assert self._server.stdout is not None
        self._server.stdout.close()

    def run(
        self,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        directory: Path,
        *,
        standard_input: str = "",
        umask: int = 0o022,
        strace: Sequence[str] = (),
    ) -> Done:
        """Run a script, or a module when its name has no slash.

        Args:
            arguments: The script or module and its arguments.
            environ: All its variables.
            directory: The current folder.
            standard_input: Its standard input.
            umask: Its umask.
            strace: Options for strace; empty: run without strace.
        """
        files = [self._directory / name for name in ("stdin", "stdout", "stderr")]
        for path, text in zip(files, (standard_input, "", ""), strict=True):
            path.write_text(text)
        modules = self._directory / "modules"
        modules.unlink(missing_ok=True)
        request = {
            "arguments": list(arguments),
            "is_module": "/" not in arguments[0],
            "environ": dict(environ),
            "directory": str(directory),
            "umask": umask,
            "files": [str(path) for path in files],
            "stop": bool(strace),
            "modules": "" if strace else str(modules),
        }
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        child = int(self._configured())
        if strace:
            _trace(child, strace)
        returncode = int(self._configured())
        return Done(returncode, files[1].read_text(errors="replace"), files[2].read_text(errors="replace"))

    def _configured(self) -> str:
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        assert line, "the interpreter that forks has ended"
        return line


def _trace(child: int, options: Sequence[str]) -> None:
    """Trace a process that has stopped itself, from that point to its end."""
    while _state(child) != "T":
        pass
    command = ["strace", *options, "-p", str(child)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        # From this line on, strace sees every call of the process.
        said = strace.stderr.readline()
        assert "attached" in said, said
        os.kill(child, signal.SIGCONT)
        strace.stderr.read()
        strace.wait(TIMEOUT)


def _state(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
