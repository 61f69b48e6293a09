"""Files with readable names, in a folder or a bucket: for what other programs are to read as well."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ostinato.errors import SettingError
from ostinato.io.blobs import make_folder, open_bucket, safe_url, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator


class Shelf(Protocol):
    """Named files, written whole and never changed."""

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole and for good before returning; `name` may have slashes in it."""
        ...

    def read(self, name: str) -> bytes:
        """Read a file; FileNotFoundError if there is none."""
        ...

    def names(self) -> Iterator[str]:
        """List all files, in no order."""
        ...


def open_shelf(url: str) -> Shelf:
    """Open the place that a URL or a path names.

    Raises:
        SettingError: It is a server's, or of no known kind, or what it needs is not installed or not configured.
    """
    scheme, found, rest = url.partition("://")
    if not found or len(scheme) == 1:
        return FolderShelf(Path(url).expanduser())
    if scheme == "file":
        from urllib.parse import unquote  # only where a URL was given

        return FolderShelf(Path(unquote(rest)))
    if scheme in ("http", "https"):
        raise SettingError(
            f"An archive is a folder or a bucket, got {safe_url(url)!r}. Set OSTINATO_RETENTION_ARCHIVE."
        )
    return BucketShelf(open_bucket(url), safe_url(url))


class FolderShelf:
    """Files below a local folder, readable by their owner only."""

    def __init__(self, root: Path) -> None:
        """Name the folder; it is made by the first write."""
        self._root = root.absolute()

    def __repr__(self) -> str:
        """Show where it is."""
        return str(self._root)

    def write(self, name: str, data: bytes) -> None:
        """Write beside, sync, rename into place."""
        path = self._root / name
        make_folder(path.parent)
        write_whole(path, data)

    def read(self, name: str) -> bytes:
        """Read a file; FileNotFoundError if there is none."""
        return (self._root / name).read_bytes()

    def names(self) -> Iterator[str]:
        """List all files but those that a writer who died has left half done."""
        for path in self._root.rglob("*"):
            if path.is_file() and not path.name.startswith("."):
                yield path.relative_to(self._root).as_posix()


class BucketShelf:
    """Objects of a bucket, whose puts are whole and for good by themselves."""

    def __init__(self, store: Any, url: str) -> None:
        """Use an obstore store."""
        self._store = store
        self._url = url

    def __repr__(self) -> str:
        """Show where it is."""
        return self._url

    def write(self, name: str, data: bytes) -> None:
        """Put an object."""
        self._store.put(name, data)

    def read(self, name: str) -> bytes:
        """Read an object; FileNotFoundError if there is none."""
        return bytes(self._store.get(name).bytes())

    def names(self) -> Iterator[str]:
        """List all objects."""
        for page in self._store.list():
            for entry in page:
                yield entry["path"]
