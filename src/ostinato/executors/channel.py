"""How a parent and its child process talk: messages over one file descriptor.

```
| length, 8 bytes | kind, 1 byte | a pickle |
```

Our own because a child should be up in milliseconds, and `multiprocessing.connection` takes as long to
import as the interpreter to start. It imports nothing but what is already there.
"""

from __future__ import annotations

import os
import pickle
from typing import Any

HELLO, WORK, NOTE, ENDED, FAILED, REFUSED = range(6)
"""Kinds: the child's settings; a piece of work; something it says; how it ended: with a value, with an
error (see `child.Failure`), or not begun because it could not be loaded."""

_HEADER = 9
_CHUNK = 65_536


class Channel:
    """One end of the line. One thread may receive while another sends."""

    __slots__ = ("_buffer", "_fd")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._buffer = bytearray()

    def send(self, kind: int, data: bytes) -> None:
        """Send a message.

        Raises:
            OSError: The other side is gone.
        """
        header = len(data).to_bytes(8, "big") + bytes((kind,))
        if len(data) <= _CHUNK:
            self._write(header + data)
        else:
            self._write(header)
            self._write(data)

    def receive(self) -> tuple[int, bytes | bytearray]:
        """Wait for the next message.

        Returns:
            Its kind and its data.

        Raises:
            EOFError: The other side is gone.
        """
        buffer = self._buffer
        while len(buffer) < _HEADER:
            buffer += self._read()
        end = _HEADER + int.from_bytes(buffer[:8], "big")
        kind = buffer[8]
        if end > _CHUNK:
            return kind, self._receive_large(end)
        while len(buffer) < end:
            buffer += self._read()
        data = buffer[_HEADER:end]
        del buffer[:end]
        return kind, data

    def _receive_large(self, end: int) -> bytearray:
        """Read into one buffer of the final size: no copy grows with every chunk."""
        data = bytearray(end - _HEADER)
        have = min(len(self._buffer), end)
        data[: have - _HEADER] = self._buffer[_HEADER:have]
        del self._buffer[:have]
        view = memoryview(data)[have - _HEADER :]
        while view:
            view = view[_checked(os.readv(self._fd, [view])) :]
        return data

    def _read(self) -> bytes:
        data = os.read(self._fd, _CHUNK)
        _checked(len(data))
        return data

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]


def _checked(count: int) -> int:
    if count == 0:
        raise EOFError
    return count


def dump(value: object) -> bytes:
    """Pickle a value: by pickle, and by cloudpickle, which is slower, only where that fails.

    Raises:
        Exception: It cannot be pickled; whatever its own code raises.
    """
    try:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception:
        return dump_code(value)


def dump_code(value: object) -> bytes:
    """Pickle a value with the functions and classes of ``__main__``, which the other side does not import.

    Raises:
        Exception: It cannot be pickled; whatever its own code raises.
    """
    import cloudpickle

    data: bytes = cloudpickle.dumps(value)
    return data


def load(data: bytes | bytearray) -> Any:
    """Read what `dump` wrote."""
    return pickle.loads(data)  # noqa: S301  # it comes from our own child
