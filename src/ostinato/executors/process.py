"""One child process as its parent sees it: started, talked to, killed, and mourned.

It leads a session of its own, so that Ctrl-C in the terminal does not reach it, and killing its process
group takes what it started along. It is started as a plain ``python -c``: the user's main module is not
imported again, so that nobody needs an ``if __name__ == "__main__"``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from ostinato.executors.channel import HELLO, Channel, dump

if TYPE_CHECKING:
    from collections.abc import Callable

_BOOT = "import sys; sys.path[:] = sys.argv[3:]; from ostinato.executors.child import main; main()"
_EXPLAINED = {"SIGKILL": " (out of memory?)", "SIGSEGV": " (a crash in native code)"}


class Process:
    """A child process that runs work."""

    def __init__(self, on_death: Callable[[Process], None]) -> None:
        """Start it; returns once the interpreter is launched, not once it is up.

        Args:
            on_death: Called from another thread when it has died.
        """
        self._socket, theirs = socket.socketpair()
        lifeline, self._lifeline = os.pipe()
        try:
            self._popen = subprocess.Popen(  # noqa: S603  # our own interpreter
                [sys.executable, "-c", _BOOT, str(theirs.fileno()), str(lifeline), *sys.path],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), lifeline),
                start_new_session=True,
            )
        except BaseException:
            self._socket.close()
            os.close(self._lifeline)
            raise
        finally:
            theirs.close()
            os.close(lifeline)
        self.channel = Channel(self._socket.fileno())
        self._lock = threading.Lock()
        self._gone = threading.Event()
        self._on_death = on_death
        self._mourner = threading.Thread(target=self._mourn, name=f"ostinato-process-{self.id}", daemon=True)
        self._mourner.start()
        with contextlib.suppress(OSError):  # who talks to it next will find it dead
            self.channel.send(HELLO, dump(sys.argv))

    @property
    def id(self) -> int:
        """The process id."""
        return self._popen.pid

    @property
    def is_alive(self) -> bool:
        """Whether it is not known to have died."""
        return not self._gone.is_set()

    def kill(self) -> None:
        """Kill it and all of its process group, for certain and at once."""
        with self._lock:
            if not self._gone.is_set():
                self._kill_group()

    def hang_up(self) -> None:
        """Let it end by itself, if it is idle."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the line. Only for who would talk on it."""
        self._socket.close()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is dead and `on_death` was called; say whether that is so."""
        self._mourner.join(timeout)
        return not self._mourner.is_alive()

    def explain(self) -> str:
        """Say how it died, once it has: the signal or the exit code."""
        if not self.wait(2):
            self.kill()
            return f"process {self.id} closed its line to its parent and was killed"
        code = self._popen.returncode
        if code >= 0:
            return f"process {self.id} ended by itself with exit code {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"process {self.id} was killed by {name}{_EXPLAINED.get(name, '')}"

    def _mourn(self) -> None:
        """Wait for its death, kill what it leaves behind, and wake who waits for its answer.

        It is not reaped before its group is killed: until then nobody else can get its number.
        """
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, self.id, os.WEXITED | os.WNOWAIT)
            self._kill_group()
        with self._lock:
            self._popen.wait()
            self._gone.set()
        self.hang_up()  # a process that escaped the group may still hold the other end
        os.close(self._lifeline)
        self._on_death(self)

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.id, signal.SIGKILL)
