"""A lock between the processes that write one SQLite file.

SQLite's own waiting polls with growing pauses, so that of several busy writers some starve; and in versions
up to 3.51.2 two connections that checkpoint at once can lose commits. Both end when every writer first takes
one blocking lock: the operating system queues the waiting and drops the lock of a process that dies.

The lock is on a file of its own beside the database, ``<database>.lock``. It holds between two stores of one
process as well, since each opens the file for itself; the threads of one store need a lock of theirs on top.
"""

from __future__ import annotations

import os
import sys

if sys.platform == "win32":
    import msvcrt
    import time
else:
    import fcntl


class FileLock:
    """An exclusive lock on a file, held between `acquire` and `release`."""

    def __init__(self, path: str) -> None:
        """Open the file, making it when there is none.

        Raises:
            OSError: If it can be neither opened nor made.
        """
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)

    if sys.platform == "win32":

        def acquire(self) -> None:
            """Wait until no other process holds the lock, then hold it."""
            while True:
                os.lseek(self._fd, 0, os.SEEK_SET)
                try:
                    msvcrt.locking(self._fd, msvcrt.LK_NBLCK, 1)
                except OSError:
                    time.sleep(0.001)
                else:
                    return

        def release(self) -> None:
            """Let the next one have it."""
            os.lseek(self._fd, 0, os.SEEK_SET)
            msvcrt.locking(self._fd, msvcrt.LK_UNLCK, 1)

    else:

        def acquire(self) -> None:
            """Wait until no other process holds the lock, then hold it."""
            fcntl.flock(self._fd, fcntl.LOCK_EX)

        def release(self) -> None:
            """Let the next one have it."""
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the file. Closing twice is harmless."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
