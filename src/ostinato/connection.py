"""One HTTP/1.1 connection to a server: a request out, its answer in, whole or in pieces.

Plain sockets and no more of HTTP than what our clients send and any server or proxy may answer with: a length, chunks,
or the end of the connection. `ostinato.link` keeps several of them, and says why.
"""

from __future__ import annotations

import contextlib
import select
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple, cast

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from io import BufferedReader

COMPRESSED_FROM: Final = 16 * 1024
"""Bytes from which a body is worth compressing."""
_LINE: Final = 65_536
_MOST_HEADERS: Final = 100


class Reply(NamedTuple):
    """What came back: names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class LostError(Exception):
    """The connection could not be made, or broke; `may_have_arrived` when the whole request had been sent."""

    def __init__(self, why: str, *, may_have_arrived: bool) -> None:
        super().__init__(why)
        self.may_have_arrived = may_have_arrived


class Connection:
    """One connection, and the exchange that is under way on it."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._file = cast("BufferedReader", sock.makefile("rb", _LINE))
        self.status = 0
        self.headers: dict[str, str] = {}
        self.is_sent = False
        self.is_free = False
        """The answer was read to its end, and the server keeps the connection."""

    def close(self) -> None:
        """Let go of it. Closing twice is harmless."""
        with contextlib.suppress(OSError):
            self._file.close()
            self._socket.close()

    def __del__(self) -> None:
        """Let go of it where nobody has: a result store is never closed."""
        self.close()

    def is_quiet(self) -> bool:
        """Tell whether the other side has said nothing, not even that it closes."""
        if not hasattr(select, "poll"):
            return not select.select([self._socket], [], [], 0)[0]
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    def send(self, head: str, body: bytes, timeout: float) -> None:
        """Send a request: its head without the empty line, and its body, packed where that is worth it."""
        self.is_sent = self.is_free = False
        self._socket.settimeout(timeout)
        if len(body) >= COMPRESSED_FROM and "octet-stream" not in head:
            packed = pack(body)
            head = head.replace(f"Content-Length: {len(body)}", f"Content-Length: {len(packed)}")
            head, body = f"{head}Content-Encoding: gzip\r\n", packed
        start = f"{head}\r\n".encode("latin-1")
        if len(body) < _LINE:
            self._socket.sendall(start + body)
        else:
            self._socket.sendall(start)
            self._socket.sendall(body)
        self.is_sent = True

    def read_head(self) -> None:
        """Read `status` and `headers` of the answer."""
        while True:
            line = self._line()
            if not line.startswith(b"HTTP/1.") or not line[9:12].isdigit():
                message = f"it does not speak HTTP: {line[:40]!r}"
                raise ValueError(message)
            self.status = int(line[9:12])
            self.headers = self._read_headers()
            if self.status >= 200:  # noqa: PLR2004  # what comes before is not the answer
                break
        self._keeps = line.startswith(b"HTTP/1.1") and self.headers.get("connection", "").lower() != "close"

    def _read_headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for _ in range(_MOST_HEADERS):
            line = self._line()
            if line in (b"\r\n", b"\n"):
                return headers
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        message = f"it sent more than {_MOST_HEADERS} headers"
        raise ValueError(message)

    def _line(self) -> bytes:
        line = self._file.readline(_LINE)
        if not line.endswith(b"\n"):
            message = "the connection was closed before the answer" if not line else "the answer broke off"
            raise ConnectionError(message)
        return line

    def read_all(self, method: str) -> bytes:
        """Read the whole body of the answer."""
        if method == "HEAD" or self.status in (204, 304):
            self.is_free = self._keeps
            return b""
        body = b"".join(self.pieces())
        return unpack(body) if self.headers.get("content-encoding") == "gzip" else body

    def pieces(self) -> Iterator[bytes]:
        """Read the body of the answer piece by piece."""
        length = self.headers.get("content-length")
        if "chunked" in self.headers.get("transfer-encoding", ""):
            while size := int(self._line().partition(b";")[0], 16):
                yield self._exactly(size)
                self._line()
            self._read_headers()
        elif length is None:
            self._keeps = False
            yield self._file.read()
        elif int(length):
            yield self._exactly(int(length))
        self.is_free = self._keeps

    def _exactly(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            message = f"the answer broke off after {len(data):,} of {size:,} bytes"
            raise ConnectionError(message)
        return data


class Stream:
    """An answer that is read in pieces of any size."""

    def __init__(self, connection: Connection) -> None:
        self._pieces = connection.pieces()
        self._held = bytearray()

    def take(self, size: int) -> bytes:
        """Take so many bytes.

        Raises:
            ConnectionError: If the answer has fewer.
        """
        while len(self._held) < size:
            piece = next(self._pieces, None)
            if piece is None:
                message = "the answer broke off"
                raise ConnectionError(message)
            self._held += piece
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken

    def finish(self) -> None:
        """Read to the end, so that the connection can be used again."""
        for _ in self._pieces:
            pass


def pack(body: bytes) -> bytes:
    """Compress with gzip, quickly."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()


def unpack(body: bytes, limit: int = 0) -> bytes:
    """Undo `pack`.

    Args:
        body: What was packed.
        limit: How many bytes may come out at most; 0 for any number.

    Raises:
        ValueError: If it is not gzip, or not whole.
        OverflowError: If more would come out.
    """
    unpacker = zlib.decompressobj(31)
    try:
        data = unpacker.decompress(body, limit + 1 if limit else 0)
    except zlib.error as error:
        message = f"the body is not gzip, which its Content-Encoding says: {error}"
        raise ValueError(message) from None
    if limit and len(data) > limit:
        raise OverflowError
    if not unpacker.eof:
        message = "the body, which is gzip, is not whole"
        raise ValueError(message)
    return data
