"""The result store: results too large for a row, kept once by the hash of their bytes.

```
dump ─► encode ─► up to 4 KiB: in the row itself
               └► more: put the bytes, durably; the row gets a reference, and is written after
load ─► decode, or get by the reference (the hash is checked) and decode
```

Nothing is counted here: rows of the database name blobs. A sweeper deletes blobs that no row names once
they are older than a grace period, and a put of bytes that are there already makes them young again when
half the grace is over, so that there is always time to write the row.
"""

from __future__ import annotations

from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from ostinato.errors import OstinatoError, ResultError
from ostinato.io.blobs import Blobs, open_blobs, refuse, safe_url
from ostinato.io.serializers import decode, encode, find_reference, refer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ostinato.fingerprint import Print

GRACE = 3600.0
"""Seconds for which a blob that nothing names is left alone."""
_PAGE = 500
hasher = partial(blake2b, digest_size=32)
"""Makes the hash that blobs are named by."""


class ResultStore:
    """Results by the hash of their bytes, in a folder or a bucket.

    Args:
        url: A folder, or ``file://``, ``s3://``, ``gs://``, ``az://``, ``memory://`` or a server's ``http://…/api/blobs``.
        grace: Seconds for which a blob that nothing names is left alone.
        token: What is shown to the server, or what says it each time, for a process that serves one run after another.

    Raises:
        SettingError: At the first use, for a URL that cannot be opened.
    """

    def __init__(self, url: str, *, grace: float = GRACE, token: str | Callable[[], str] = "") -> None:
        """Name the place. Nothing is opened before the first use."""
        self.url = url
        self._token = token if callable(token) else lambda: token
        self._grace = grace
        self._opened: Blobs | None = None

    def __repr__(self) -> str:
        """Show the place, without any password."""
        return f"ResultStore({safe_url(self.url)})"

    def dump(self, value: object, print: Print, inline_limit: int = 4096) -> tuple[bytes, str | None]:  # noqa: A002  # the word for it here
        """Encode a value for a row, and put it into the store first if it is large.

        Args:
            value: The value.
            print: Its fingerprint.
            inline_limit: Up to how many bytes it stays in the row.

        Returns:
            What the row keeps, and the hash of the blob it names, if any.

        Raises:
            ResultError: The value cannot be encoded, or the store cannot be written.
        """
        encoded = encode(value, print)
        if len(encoded.data) <= inline_limit:
            return encoded.data, None
        digest = self.put(encoded.data)
        return refer(encoded, digest), digest

    def load(self, data: bytes) -> Any:
        """Return the value that `dump` wrote.

        Raises:
            ResultError: It is missing, damaged, or cannot be rebuilt in this process.
        """
        reference = find_reference(data)
        return decode(data if reference is None else self.get(reference.hash))

    def put(self, data: bytes | memoryview) -> str:
        """Keep bytes, for good before this returns.

        Returns:
            Their hash, 64 hexadecimal digits.
        """
        digest = _hash(data)
        blobs = self._blobs()
        try:
            age = blobs.find_age(digest)
            if age is None or age > self._grace / 2:
                blobs.write(digest, data)
        except Exception as error:
            raise refuse(f"keep a result of {len(data):,} bytes", blobs, error) from error
        return digest

    def get(self, digest: str) -> bytes:
        """Return the bytes of a hash.

        Raises:
            ResultError: They are missing or not what they were.
        """
        blobs = self._blobs()
        try:
            data = blobs.read(digest)
        except FileNotFoundError as error:
            message = f"The result {digest} is missing from the result store {blobs!r}. {_AGAIN}"
            raise ResultError(message) from error
        except Exception as error:
            raise refuse(f"read the result {digest}", blobs, error) from error
        if _hash(data) != digest:
            message = f"The result {digest} in the result store {blobs!r} is damaged: its content has changed. {_AGAIN}"
            raise ResultError(message)
        return data

    def find_age(self, digest: str) -> float | None:
        """Return how many seconds ago the bytes of a hash were put; None if they are not there."""
        blobs = self._blobs()
        try:
            return blobs.find_age(digest)
        except Exception as error:
            raise refuse(f"look for the result {digest}", blobs, error) from error

    def pieces(self, digest: str) -> Iterator[bytes]:
        """Yield the bytes of a hash piece by piece, unchecked: who asked checks them."""
        return self._blobs().pieces(digest)

    def delete(self, digests: Iterable[str]) -> list[str]:
        """Delete blobs that no row names any more, except those younger than the grace.

        Returns:
            The hashes of those that were deleted.
        """
        blobs = self._blobs()
        try:
            return [digest for digest in digests if blobs.remove(digest, self._grace)]
        except Exception as error:
            raise refuse("delete old results", blobs, error) from error

    def sweep(self, unnamed: Callable[[list[str]], Iterable[str]]) -> list[str]:
        """Delete every blob that is older than the grace and that no row names.

        Args:
            unnamed: Takes hashes and returns those that no row names; called with some hundreds at a time.

        Returns:
            The hashes of what was deleted.
        """
        blobs, gone, page = self._blobs(), list[str](), list[str]()
        try:
            for digest in blobs.names(self._grace):
                page.append(digest)
                if len(page) == _PAGE:
                    gone += self.delete(unnamed(page))
                    page = []
            return gone + (self.delete(unnamed(page)) if page else [])
        except OstinatoError:
            raise
        except Exception as error:
            raise refuse("be swept", blobs, error) from error

    def _blobs(self) -> Blobs:
        if self._opened is None:
            self._opened = open_blobs(self.url, self._token)
        return self._opened


_AGAIN = "Run the task that made it again: `ostinato rerun RUN --from TASK`."


def _hash(data: bytes | memoryview) -> str:
    return hasher(data).hexdigest()
