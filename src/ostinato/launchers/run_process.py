"""One run process as its worker sees it: started, talked to, killed whole."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ostinato.launchers.ends import explain, over_limit
from ostinato.launchers.line import Alive, Boot, Line
from ostinato.launchers.tree import MARK, kill_tree

if TYPE_CHECKING:
    from ostinato.launchers.cgroup import Cgroups
    from ostinato.launchers.job import Job
    from ostinato.settings import Settings
    from ostinato.work import ProcessEnd

_KEPT_FROM_RUNS = ("OSTINATO_TOKEN", "OSTINATO_DATABASE")
"""What the worker may know and user code may not: a run holds only its run's token."""


class Place(msgspec.Struct, frozen=True):
    """Where a run's code is: runs of one place may share a process, one after the other."""

    root: str
    python: str = sys.executable
    bundled: bool = False
    targets: tuple[str, ...] = ()
    """What is worth importing ahead."""

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from other places."""
        return self.root, self.python


class RunProcess:
    """A process for runs of one place."""

    def __init__(self, place: Place, settings: Settings, *, silence: float, cgroups: Cgroups | None) -> None:
        """Start it; returns once the interpreter is launched, not once it is up.

        Raises:
            OSError: If it cannot be started.
        """
        self.place = place
        self.job: Job | None = None
        self.is_ready = False
        self.retired = False
        """It takes no more runs."""
        self.runs = 0
        self.first_memory = 0
        """What it took once everything was imported and the first run done."""
        self.free_since = time.monotonic()
        self.hung_up = False
        self.mark = f"{os.getpid()}-{secrets.token_hex(6)}"
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._popen = _start(place, settings, theirs.fileno(), self.mark)
            except BaseException:
                ours.close()
                raise
        self._ooms = 0
        self._was_over = False
        """The kernel has killed in its control group, for lack of memory."""
        self.line = Line(ours)
        self.death = os.pidfd_open(self.pid) if hasattr(os, "pidfd_open") else None
        """Readable once it is dead, where the system has that."""
        self.cgroup = cgroups.make(self.mark) if cgroups is not None else None
        if self.cgroup is not None and not self.cgroup.add(self.pid):
            self.cgroup.remove()
            self.cgroup = None
        boot = Boot(settings, place.root, list(place.targets), silence, place.bundled)
        with contextlib.suppress(OSError):  # its death will be noticed
            self.line.send(boot)

    def hold_to(self, limit: int | None) -> None:
        """Have the kernel hold it to so many bytes of memory, where there is a control group for that."""
        if self.cgroup is not None and self.cgroup.has_memory:
            self.cgroup.limit(limit)
            self._ooms = self.cgroup.oom_kills

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    def kill(self) -> None:
        """Kill it with all it has started. Not once it was buried."""
        if self.cgroup is None or not self.cgroup.kill():
            kill_tree(self.pid, self.mark)

    def say_alive(self) -> None:
        """Tell it that its worker is well."""
        with contextlib.suppress(OSError):
            self.line.send(Alive())

    def bury(self) -> int:
        """Take leave of it, dead or dying, and of what it leaves behind; returns its exit code."""
        with contextlib.suppress(ChildProcessError):
            if hasattr(os, "waitid"):
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)  # its number is still its own
        self.kill()
        code = self._popen.wait()
        self.line.close()
        if self.death is not None:
            os.close(self.death)
        if self.cgroup is not None:
            self._was_over = self.cgroup.has_memory and self.cgroup.oom_kills > self._ooms
            self.cgroup.remove()
        return code

    def dies(self, seconds: float) -> bool:
        """Wait a little for its death."""
        with contextlib.suppress(subprocess.TimeoutExpired, ChildProcessError):
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None:
                    return True
                time.sleep(0.001)
        return False

    def explain(self, code: int) -> ProcessEnd:
        """Say how it ended, if nobody of ours has killed it."""
        ooms, peak = (self.job.ooms, self.job.peak) if self.job is not None else (0, None)
        if self._was_over and self.job is not None and self.job.limit is not None and code == -signal.SIGKILL:
            return over_limit(max(peak or 0, self.job.limit), self.job.limit)
        hung_up = self.hung_up and code == -signal.SIGKILL
        return explain(self.pid, code, ooms=ooms, hung_up=hung_up, peak=peak or None)


def _start(place: Place, settings: Settings, fd: int, mark: str) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if name not in _KEPT_FROM_RUNS}
    if settings.api:
        environment |= {"OSTINATO_API": settings.api, "OSTINATO_RESULTS": settings.results_url}
    return subprocess.Popen(  # noqa: S603  # our own interpreter, or the one of the bundle's environment
        [place.python, "-P", "-m", "ostinato.runtime.host", str(fd)],
        cwd=place.root if Path(place.root).is_dir() else None,
        env=environment | {MARK: mark},
        stdin=subprocess.DEVNULL,
        stdout=2,  # what native code and its children print to standard output; the worker's own is not for that
        pass_fds=(fd,),
        start_new_session=True,
    )
