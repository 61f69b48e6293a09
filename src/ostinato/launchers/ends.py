"""What is known of a process that has ended: a true sentence for a person, and the reason the store keeps."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from ostinato.work import ProcessEnd


def explain(pid: int, code: int, *, ooms: int, hung_up: bool, peak: int | None = None) -> ProcessEnd:
    """Say how a run's process ended that nobody of ours has killed.

    Args:
        pid: The process.
        code: As `subprocess.Popen.returncode`.
        ooms: What `count_ooms` gave when it began its run.
        hung_up: It had closed its line to the worker, and was killed for that.
        peak: The most memory that it was seen to take.
    """
    if hung_up:
        message = "the process closed its line to the worker, so it could not be carried on with, and was ended"
        return ProcessEnd(reason="exited", message=message, peak_memory=peak)
    if code >= 0:
        message = f"the process ended by itself with exit code {code} (os._exit, or native code?)"
        return ProcessEnd(reason="exited", message=message, exit_code=code, peak_memory=peak)
    message = f"the process was killed by signal {-code} ({_name(-code)})"
    if -code != signal.SIGKILL:
        return ProcessEnd(reason="killed", message=message, exit_code=code, peak_memory=peak)
    if is_oom_victim(pid):
        message = "the kernel killed the process because the machine ran out of memory"
        return ProcessEnd(reason="out_of_memory", message=message, exit_code=code, peak_memory=peak)
    if count_ooms() > ooms:
        message += "; the kernel has killed for lack of memory in that time, it may have been this one"
    return ProcessEnd(reason="killed", message=message, exit_code=code, peak_memory=peak)


def over_limit(size: int, limit: int) -> ProcessEnd:
    """Say that a run took more memory than it may."""
    message = f"it took {_size(size)} of memory, and may take {_size(limit)}"
    return ProcessEnd(reason="out_of_memory", message=message, peak_memory=size)


def count_ooms() -> int:
    """Count how often this machine's kernel has killed a process for lack of memory; 0 where that is not told."""
    for line in _lines(Path("/proc/vmstat")):
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return 0


def is_oom_victim(pid: int) -> bool:
    """Tell whether the kernel's log, where we may read it, names a process as killed for lack of memory."""
    try:
        fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    victim = f"Killed process {pid} ".encode()
    try:
        while True:
            try:
                if victim in os.read(fd, 8192):
                    return True
            except BrokenPipeError:  # what was to be read next was overwritten: go on behind it
                continue
    except OSError:  # the end
        return False
    finally:
        os.close(fd)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except OSError:
        return []


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def _size(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
