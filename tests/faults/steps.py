"""Records each system call of a command, finds those that change a file, and injects faults there with strace."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import Project

from .states import TEMPORARY

OPENING = frozenset({"open", "openat", "openat2", "creat"})
REMOVING = frozenset({"unlink", "unlinkat", "rmdir"})
CHANGING = (
    OPENING
    | REMOVING
    | {"write", "pwrite64", "writev", "pwritev", "pwritev2", "truncate", "ftruncate", "fallocate"}
    | {"copy_file_range", "sendfile", "splice", "fsync", "fdatasync", "sync_file_range", "sync", "syncfs"}
    | {"rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "mknod", "mknodat"}
    | {"mkdir", "mkdirat", "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat"}
    | {"utime", "utimes", "utimensat", "futimesat", "setxattr", "lsetxattr", "fsetxattr", "removexattr"}
)
# Reading, waiting, memory, processes, signals, sockets: none of these calls changes a file.
_HARMLESS = """
access arch_prctl bind brk capget capset chdir clock_getres clock_gettime clock_nanosleep clone clone3 close
close_range connect dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_wait eventfd eventfd2 execve
exit exit_group faccessat faccessat2 fadvise64 fchdir fcntl flock fork fstat fstatfs futex get_mempolicy
get_robust_list getcpu getcwd getdents getdents64 getegid geteuid getgid getgroups getitimer getpeername getpgid
getpgrp getpid getppid getpriority getrandom getresgid getresuid getrlimit getrusage getsid getsockname getsockopt
gettid gettimeofday getuid getxattr inotify_add_watch inotify_init1 inotify_rm_watch ioctl kill lgetxattr listen
listxattr lseek lstat madvise membarrier mincore mmap mprotect mremap munmap nanosleep newfstatat open_by_handle_at
pause pidfd_open pidfd_send_signal pipe pipe2 poll ppoll prctl pread64 preadv prlimit64 pselect6 ptrace read readahead
readlink readlinkat readv recvfrom recvmsg restart_syscall riscv_hwprobe rseq rt_sigaction rt_sigpending
rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait sched_get_priority_max sched_get_priority_min
sched_getaffinity sched_getparam sched_getscheduler sched_setaffinity sched_yield select sendmmsg sendmsg sendto
set_robust_list set_tid_address setitimer setpgid setpriority setresgid setresuid setrlimit setsid setsockopt shutdown
sigaltstack socket socketpair stat statfs statx sysinfo tgkill time timer_create timer_delete timer_settime
timerfd_create timerfd_settime times tkill umask uname vfork wait4 waitid
"""
HARMLESS = frozenset(_HARMLESS.split())
_LINE = re.compile(
    r"^(?P<time>\d+\.\d+) (?P<name>\w+)\((?P<arguments>.*?)\) += (?P<result>-?\d+|0x[0-9a-f]+|\?)(?P<rest>.*)$"
)
_QUIET_REQUESTS = re.compile(r", (TC[GS]\w+|TIOC\w+|FIO\w+)")
_DESCRIBED = re.compile(r"(?<=<)/[^<>]*(?=>)")
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')
_BY_NAME = frozenset(
    {
        "open",
        "creat",
        "truncate",
        "rename",
        "link",
        "unlink",
        "symlink",
        "mknod",
        "mkdir",
        "rmdir",
        "chmod",
        "chown",
        "lchown",
        "utime",
        "utimes",
        "setxattr",
    }
)

RECORDING = ("-f", "-ff", "-ttt", "-y", "-s", "1000000")


@dataclass(frozen=True)
class Call:
    """One system call of a run.

    Attributes:
        time: The time of the call.
        process: The number of its process in the run; 0 is the first.
        name: The name of the call.
        number: Its number among the calls of that name in its process.
        arguments: As strace shows them.
        result: As strace shows it.
        paths: Every path in it, as an absolute path.
    """

    time: float
    process: int
    name: str
    number: int
    arguments: str
    result: str
    paths: tuple[str, ...]

    @property
    def has_worked(self) -> bool:
        """Whether it succeeded."""
        return not self.result.startswith("-")


@dataclass(frozen=True)
class Point:
    """A call at which a fault is injected.

    Attributes:
        call: The call.
        kind: Its name and the purpose of its file.
        index: Its number among the calls of this kind.
    """

    call: Call
    kind: str
    index: int

    def __str__(self) -> str:
        return f"{self.kind}, number {self.index}"


def read_recording(log: Path, directory: Path) -> list[Call]:
    """Return the calls of all processes of a run, in the order of time.

    Args:
        log: The path in strace's ``-o``.
        directory: The current folder of the run, for relative names.
    """
    files = sorted(log.parent.glob(f"{log.name}.*"), key=lambda path: int(path.suffix[1:]))
    calls: list[Call] = []
    for process, path in enumerate(files):
        calls += read_process(process, path, str(directory))
    return sorted(calls, key=lambda call: call.time)


def read_process(process: int, log: Path, directory: str) -> Iterator[Call]:
    counts: dict[str, int] = {}
    for line in log.read_text(errors="surrogateescape").splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        name, arguments, result = match.group("name", "arguments", "result")
        counts[name] = counts.get(name, 0) + 1
        paths = _paths(name, arguments, match["rest"], directory)
        yield Call(float(match["time"]), process, name, counts[name], arguments, result, paths)


def _paths(name: str, arguments: str, rest: str, directory: str) -> tuple[str, ...]:
    found = [rest, arguments]
    if name in _BY_NAME:
        texts = [path if path.startswith("/") else f"{directory}/{path}" for path in _TEXT.findall(arguments)]
        found = [f"<{path}>" for path in texts]
    elif name.rstrip("2").endswith("at"):
        # Each name comes after the folder that it is relative to.
        pairs = re.findall(r'<(/[^<>]*)>, "((?:[^"\\]|\\.)*)"', arguments)
        found = [f"<{os.path.join(folder, path)}>" for folder, path in pairs]
    return tuple(path.removesuffix(" (deleted)") for text in found for path in _DESCRIBED.findall(text))


def unknown_calls(calls: Iterable[Call], project: Project) -> list[str]:
    """Return the calls that are not known to be harmless or to change a file."""
    found = set()
    for call in calls:
        mapped = call.name == "mmap" and "PROT_WRITE" in call.arguments and "MAP_SHARED" in call.arguments
        told = call.name == "ioctl" and not _QUIET_REQUESTS.search(call.arguments)
        if call.name not in CHANGING | HARMLESS or ((mapped or told) and _is_inside(call, project)):
            found.add(f"{call.name}({call.arguments[:200]})")
    return sorted(found)


def changing_calls(calls: Iterable[Call], project: Project) -> list[Call]:
    """Return the calls that change the project's folder or the home folder."""
    return [call for call in calls if call.has_worked and _changes(call) and _is_inside(call, project)]


def _changes(call: Call) -> bool:
    if call.name in OPENING:
        return call.name == "creat" or re.search(r"O_(WRONLY|RDWR|CREAT|TRUNC)", call.arguments) is not None
    return call.name in CHANGING


def _is_inside(call: Call, project: Project) -> bool:
    root = str(project.directory.parent)
    return any(path.startswith(root) for path in call.paths)


def role_of(path: str, project: Project) -> str:
    """Return the purpose of a file: its name without what differs between runs; for Docker files one of two."""
    name = os.path.relpath(path, project.directory.parent)
    name = re.sub(r"\.old-[0-9a-f]{8}", ".old-KEY", TEMPORARY.sub(".tmp", name))
    return re.sub(r"/secrets/(\.?)\w+?(_previous\.json|\.txt)", r"/secrets/\1NAME\2", name)


def points_of(calls: list[Call], project: Project) -> list[Point]:
    """Return a point for each call that changes a file."""
    points: list[Point] = []
    counts: dict[str, int] = {}
    for call in changing_calls(calls, project):
        kind = kind_of(call, project)
        counts[kind] = counts.get(kind, 0) + 1
        points.append(Point(call, kind, counts[kind]))
    return points


def kind_of(call: Call, project: Project) -> str:
    """Return the call's name, and the purpose of its file."""
    root = str(project.directory.parent)
    roles = [role_of(path, project) for path in call.paths if path.startswith(root)]
    return f"{call.name} {' '.join(dict.fromkeys(roles))}"


def first_of_each_kind(points: list[Point]) -> list[Point]:
    """Return the first point of each kind, for the short form; in a child process, the first of each name."""
    return list({_sort(point): point for point in reversed(points)}.values())[::-1]


def last_of_each_kind(points: list[Point]) -> list[Point]:
    """Return the last point of each kind; in a child process, the last of each name."""
    return list({_sort(point): point for point in points}.values())


def _sort(point: Point) -> str:
    return point.call.name if point.call.process else point.kind


def injection(point: Point, fault: str, log: Path) -> list[str]:
    """Return the options of strace that inject a fault there: ``signal=KILL`` or ``error=NAME``."""
    inject = f"inject={point.call.name}:{fault}:when={point.call.number}"
    return ["-ttt", "-y", "-e", f"trace={point.call.name}", "-e", inject, "-o", str(log)]


def injection_into_child(point: Point, fault: str, log: Path, script: Path) -> dict[str, str]:
    """Return the variables that inject a fault into a shell script that is a child process, and into nothing before it.

    strace counts the calls of each process separately, so tracing all children would also hit the parent.
    A second such child, which undoes the changes of the first, gets no fault.
    """
    words = shlex.join(["strace", "-qq", *injection(point, fault, log)])
    script.write_text(f'unset BASH_ENV; [[ -e {shlex.quote(str(log))} ]] || exec {words} bash "$0" "$@"\n')
    return {"BASH_ENV": str(script)}
