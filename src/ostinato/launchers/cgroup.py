"""Control groups (version 2), where the machine lets us make one for each run process.

The kernel then kills all of a group at once (``cgroup.kill``), whatever it has become, and, where the memory
controller may be used, holds it to its limit and says that it did. Everything works without, by other means.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

_NAME = "ostinato-"
_TRIES, _MOMENT = 5, 0.004
_LIMIT, _EVENTS = "memory.max", "memory.events"


class Cgroup:
    """The group of one run process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.has_memory = (path / _LIMIT).exists()
        """Whether memory can be limited in it: the controller is handed down to it."""

    def add(self, pid: int) -> bool:
        """Put a process into it; tell whether that went well."""
        return _write(self.path / "cgroup.procs", str(pid))

    def limit(self, size: int | None) -> bool:
        """Hold it to so many bytes, None for any; tell whether that can be done here."""
        return _write(self.path / _LIMIT, "max" if size is None else str(size))

    def kill(self) -> bool:
        """Kill all that is in it; tell whether that can be done here."""
        return _write(self.path / "cgroup.kill", "1")

    @property
    def oom_kills(self) -> int:
        """How often the kernel killed in it for lack of memory."""
        words = dict(line.split() for line in _read(self.path / _EVENTS).splitlines())
        return int(words.get("oom_kill", 0))

    def remove(self) -> None:
        """Remove it, once it is empty: what was killed in it may take a moment to be gone."""
        for _ in range(_TRIES):
            with contextlib.suppress(OSError):
                self.path.rmdir()
                return
            time.sleep(_MOMENT)


class Cgroups:
    """The place below which run processes get groups: beside the worker, in the group it was started in."""

    def __init__(self, parent: Path) -> None:
        self._parent = parent

    def make(self, name: str) -> Cgroup | None:
        """Make a group; None where that fails."""
        path = self._parent / f"{_NAME}{name}"
        try:
            path.mkdir()
        except OSError:
            return None
        return Cgroup(path)


def find_cgroups() -> Cgroups | None:
    """Find out whether groups can be made here: there is version 2, and our own group is ours to divide."""
    own = next((line[3:] for line in _read(Path("/proc/self/cgroup")).splitlines() if line.startswith("0::")), None)
    mounts = (line.split() for line in _read(Path("/proc/self/mounts")).splitlines())
    root = next((fields[1] for fields in mounts if fields[2] == "cgroup2"), None)
    if own is None or root is None:
        return None
    parent = Path(root + own.rstrip("/"))
    if not (parent / "cgroup.procs").exists() or not os.access(parent, os.W_OK):
        return None
    _write(parent / "cgroup.subtree_control", "+memory")  # refused while processes are in it, but for the root
    _remove_left(parent)
    return Cgroups(parent)


def _remove_left(parent: Path) -> None:
    """Remove the empty groups of workers that have died: each is named after its worker's process."""
    for path in parent.glob(f"{_NAME}*-*"):
        pid = path.name.removeprefix(_NAME).partition("-")[0]
        if pid.isdigit() and not Path("/proc", pid).exists():
            with contextlib.suppress(OSError):
                path.rmdir()


def _write(path: Path, text: str) -> bool:
    try:
        fd = os.open(path, os.O_WRONLY)
    except OSError:
        return False
    try:
        os.write(fd, text.encode())
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
