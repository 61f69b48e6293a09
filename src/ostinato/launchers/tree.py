"""A process with all that it has started: found, measured, and killed whole.

A run process leads a session and a process group of its own. What it starts is found as its descendants (it is the
*subreaper* of what daemonises, where the system is Linux), in its group, and by a mark in the environment that
children inherit. Read straight from ``/proc`` where there is one, since a look at all processes takes milliseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from pathlib import Path

MARK = "_OSTINATO_PROCESS"
"""The variable that marks a run process and what it starts. (No setting: those begin with ``OSTINATO_``.)"""
_PROC = Path("/proc")
_HAS_CHILDREN = Path("/proc/self/task").is_dir() and Path(f"/proc/self/task/{os.getpid()}/children").exists()
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_PR_SET_CHILD_SUBREAPER = 36
_ROUNDS = 20


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies, where the system has that."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children_of(pid: int) -> list[int]:
    """List the processes that a process has started and that have not been reaped."""
    if not _HAS_CHILDREN:
        import psutil

        with contextlib.suppress(psutil.Error):
            return [child.pid for child in psutil.Process(pid).children()]
        return []
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in (_PROC / str(pid) / "task").iterdir():
            with contextlib.suppress(OSError):
                found.extend(int(word) for word in (task / "children").read_bytes().split())
    return found


def descendants_of(pid: int) -> list[int]:
    """List all below a process, nearest first."""
    found: list[int] = []
    layer = [pid]
    while layer:
        layer = [child for parent in layer for child in children_of(parent)]
        found.extend(layer)
    return found


def kill_tree(pid: int, mark: str) -> None:
    """Kill a process, all below it, its group, and what bears its mark; until none of them is left.

    The process itself must not have been reaped: until then nobody else can get its number.
    """
    below = descendants_of(pid)
    _kill_group(pid)
    for one in (pid, *below):
        _kill(one)
    for _ in range(_ROUNDS):
        left = [one for one in marked(mark) if one != pid]
        for one in left:
            _kill(one)
        if not left:
            return
        time.sleep(0.005)


def end_with_all_below() -> None:
    """Kill this process, its group, and all that it has started, daemons too: whoever adopts orphans has them all."""
    for pid in descendants_of(os.getpid()):
        _kill(pid)
    _kill_group(0)
    os._exit(1)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def marked(mark: str, *, variable: str = MARK) -> list[int]:
    """List the living processes that bear a mark in their environment, as it was when they began."""
    wanted = f"{variable}={mark}".encode()
    if not _PROC.is_dir():
        return _marked_elsewhere(mark, variable)
    found = []
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
    return found


def _marked_elsewhere(mark: str, variable: str) -> list[int]:
    import psutil

    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(variable) == mark:
                found.append(process.pid)
    return found


def memory_of(pid: int, limit: int) -> int:
    """Measure the memory of a process and all below it, in bytes.

    The sum of what is resident counts pages that processes share several times. It is cheap, so it is what is
    returned, unless several processes together seem to be over the limit: then their proportional share is.
    """
    pids = [pid, *descendants_of(pid)]
    total = sum(resident(one) for one in pids)
    return total if total <= limit or len(pids) == 1 else sum(_proportional(one) for one in pids)


def resident(pid: int) -> int:
    """Return what a process has resident; 0 for one that is gone."""
    try:
        return int((_PROC / str(pid) / "statm").read_bytes().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0 if _PROC.is_dir() else _resident_elsewhere(pid)


def _resident_elsewhere(pid: int) -> int:
    import psutil

    with contextlib.suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return 0


def _proportional(pid: int) -> int:
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_bytes().splitlines()
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(b"Pss:"))
    except (OSError, IndexError):
        return resident(pid)
