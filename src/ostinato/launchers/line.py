"""The line between a worker and one of its run processes: messages in both directions over a socket of their own.

```
worker ── Boot, Order*, Cancel, Alive ──► run process
       ◄──────── Ready, Done* ──────────
```

Each message is a length of 4 bytes and a msgpack map. In the run process the socket has a high number and is not
inherited, so that user code which closes what it finds (as daemons do) does not cut the line.
"""

from __future__ import annotations

import struct
import threading
from typing import TYPE_CHECKING

import msgspec

from ostinato.records import Run
from ostinato.settings import Settings

if TYPE_CHECKING:
    import socket

_HEADER = struct.Struct(">I")
_CHUNK = 1 << 16
_PATIENCE = 10.0
"""Seconds for the other side to take a message: it always listens, unless it is stopped."""


class Boot(msgspec.Struct, frozen=True, tag=True):
    """The first message: what a run process is for."""

    settings: Settings
    root: str
    """The folder to work in: a project, or an unpacked bundle."""
    targets: list[str] = []
    """What to import ahead."""
    silence: float = 0.0
    """Seconds without a word from the worker after which a run under way is given up: its lease has ended."""
    bundled: bool = False
    """Files in `root` never change."""


class Order(msgspec.Struct, frozen=True, tag=True):
    """A run to carry out."""

    run: Run
    worker_id: str
    token: str = ""


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """Somebody asked to cancel the run."""

    run_id: str


class Alive(msgspec.Struct, frozen=True, tag=True):
    """The worker has renewed its lease."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The process is up and has imported what it was to import."""

    seconds: float
    broken: dict[str, str] = {}
    """Why some of it could not be imported, by target."""


class Done(msgspec.Struct, frozen=True, tag=True):
    """The process is free again."""

    run_id: str
    outcome: str
    """``ended`` (its end or its suspension is committed), ``lost`` (not held any more), ``unloadable``, ``stale`` (what
    was imported is not what the run needs, `message` says why; nothing was run)."""
    message: str = ""
    left: list[str] = []
    """Threads and child processes that user code left behind."""
    memory: int = 0
    """What the process takes now, in bytes."""


Message = Boot | Order | Cancel | Alive | Ready | Done

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


class Line:
    """One end of a line. One thread reads; any may send."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._end.settimeout(_PATIENCE)
        self._buffer = bytearray()
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """Return the descriptor, to wait for what comes."""
        return self._end.fileno()

    def send(self, message: Message) -> None:
        """Send a message.

        Raises:
            OSError: If the other side is gone, or does not listen.
        """
        data = _encode(message)
        with self._lock:
            self._end.sendall(_HEADER.pack(len(data)) + data)

    def read(self) -> list[Message]:
        """Read what has come, once there is something; the messages that are whole.

        Raises:
            EOFError: If the other side is gone.
        """
        try:
            data = self._end.recv(_CHUNK)
        except TimeoutError:
            return []
        except OSError as error:
            raise EOFError from error
        if not data:
            raise EOFError
        self._buffer += data
        found: list[Message] = []
        while len(self._buffer) >= _HEADER.size:
            end = _HEADER.size + _HEADER.unpack_from(self._buffer)[0]
            if len(self._buffer) < end:
                break
            found.append(_decode(bytes(self._buffer[_HEADER.size : end])))
            del self._buffer[:end]
        return found

    def close(self) -> None:
        """Hang up."""
        self._end.close()
