"""What can be known of a process on this machine: whether it is the one that is meant, stopped, or gone."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

from ostinato.errors import AccessError

if TYPE_CHECKING:
    from ostinato.records import Run, Worker
    from ostinato.store.store import Store

_DEAD = {"Z", "X", "x"}
_STOPPED = {"T", "t"}


def this_host() -> str:
    """Name the machine, its boot and its process namespace: within one of these, a process id means one process."""
    return f"{socket.gethostname()}/{_boot()}/{_namespace()}"


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:8]
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def process_started(pid: int) -> str:
    """Tell a process from a later one with the same number: when it started, in ticks since the boot.

    Returns:
        Empty for a process that is gone (one that nobody has buried yet is), and where it cannot be known: off Linux.
    """
    state, started = _stat(pid)
    return "" if state in _DEAD else started


def is_stopped(pid: int) -> bool:
    """Tell whether a process is stopped by a signal; False where that cannot be known."""
    return _stat(pid)[0] in _STOPPED


def _stat(pid: int) -> tuple[str, str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        fields = text.rpartition(")")[2].split()  # the name before it may hold anything
        return fields[0], fields[19]
    except (OSError, IndexError):
        return "", ""


def is_gone(worker: Worker) -> bool:
    """Tell whether a worker is certainly dead without waiting for its lease: same machine, no such process."""
    if worker.host != this_host() or not worker.pid_started:
        return False
    return process_started(worker.pid) != worker.pid_started


def sweep(store: Store) -> list[Run]:
    """Mark the runs of dead workers as crashed; those whose process is seen to be gone at once."""
    try:
        return store.sweep([worker.id for worker in store.list_workers() if is_gone(worker)])
    except AccessError:  # a server that does not let us look does so itself
        return []
