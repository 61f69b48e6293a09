"""Blobs that a server keeps, over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ostinato.link import Link

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ostinato.connection import Reply

_ANSWER: Final = 120.0
"""Seconds to wait for each piece, and for the server to have put a large blob on its disk."""


class RemoteBlobs:
    """Blobs behind ``/api/blobs`` of a server, which alone removes any.

    Args:
        url: ``http://host:port/api/blobs``.
        token: Says what is shown to the server; asked each time, for it may change.
    """

    def __init__(self, url: str, token: Callable[[], str]) -> None:
        self._link = Link(url)
        self._token = token

    def __repr__(self) -> str:
        """Show where it is."""
        return self._link.url

    def find_age(self, name: str) -> float | None:
        """Return how long ago a blob was written; None if there is none."""
        reply = self._ask("HEAD", name)
        return float(reply.headers.get("ostinato-age", "inf")) if reply.status == 200 else None  # noqa: PLR2004  # HTTP

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Send a blob; the server has it for good when this returns."""
        self._ask("PUT", name, bytes(data))

    def read(self, name: str) -> bytes:
        """Fetch a blob; FileNotFoundError if there is none."""
        reply = self._ask("GET", name)
        if reply.status == 404:  # noqa: PLR2004  # HTTP's own
            raise FileNotFoundError(name)
        return reply.body

    def pieces(self, name: str) -> Iterator[bytes]:
        """Fetch a blob, in one piece; FileNotFoundError if there is none."""
        yield self.read(name)

    def remove(self, name: str, older: float) -> bool:  # noqa: ARG002  # the Protocol's
        """Leave it to the server."""
        return False

    def names(self, older: float) -> Iterator[str]:  # noqa: ARG002  # the Protocol's
        """Leave it to the server."""
        return iter(())

    def _ask(self, method: str, name: str, body: bytes = b"") -> Reply:
        self._link.token = self._token()
        return self._link.call(method, f"/{name}", body, media="application/octet-stream", timeout=_ANSWER)
