"""Where blobs are kept: a local folder, or a bucket behind obstore.

Both know names and bytes only. What a name means, and when a blob may go, is for `ostinato.io.results`.

The folder is written here and not by obstore, whose `LocalStore` renames into place but does not sync
(0.12, seen with strace: no fsync at all), so that a power loss could leave an acknowledged result empty.
It also spares a run that keeps its results in files the import.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ostinato.errors import OstinatoError, ResultError, SettingError, nearest
from ostinato.io.remote_blobs import RemoteBlobs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SCHEMES = ("file", "s3", "gs", "az", "memory", "http", "https")
_OTHERS = ("s3a", "adl", "azure", "abfs", "abfss")
_PIECE = 1 << 20
_LOST = ".lost-"
"""What the sweeper has taken away and not yet deleted begins with this."""


class Blobs(Protocol):
    """A flat place of named bytes. Ages are in seconds."""

    def find_age(self, name: str) -> float | None:
        """Return how long ago a blob was written; None if there is none."""
        ...

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Write a blob whole and for good before returning."""
        ...

    def read(self, name: str) -> bytes:
        """Read a blob; FileNotFoundError if there is none."""
        ...

    def pieces(self, name: str) -> Iterator[bytes]:
        """Read a blob piece by piece; FileNotFoundError, at the first, if there is none."""
        ...

    def remove(self, name: str, older: float) -> bool:
        """Remove a blob written longer ago than `older`; tell whether it was there and is gone."""
        ...

    def names(self, older: float) -> Iterator[str]:
        """List the blobs written longer ago than `older`."""
        ...


def open_blobs(url: str, token: Callable[[], str] = str) -> Blobs:
    """Open the place that a URL or a path names.

    Args:
        url: The URL or path.
        token: Says what is shown where the place is a server.

    Raises:
        SettingError: The URL is of no known kind, or what it needs is not installed or not configured.
    """
    scheme, found, rest = url.partition("://")
    if not found or len(scheme) == 1:
        return Folder(Path(url).expanduser())
    if scheme == "file":
        from urllib.parse import unquote  # only where a URL was given

        return Folder(Path(unquote(rest)))
    if scheme not in (*SCHEMES, *_OTHERS):
        message = (
            f"The result store {safe_url(url)!r} begins with {scheme!r}; expected a folder or one of "
            f"{', '.join(f'{name}://' for name in SCHEMES)}.{nearest(scheme, SCHEMES)} Set OSTINATO_RESULTS."
        )
        raise SettingError(message)
    if scheme in ("http", "https"):
        return RemoteBlobs(url, token)
    return Bucket(open_bucket(url), safe_url(url))


def open_bucket(url: str) -> Any:
    """Open a bucket as obstore does.

    Raises:
        SettingError: It cannot be opened, or obstore is not installed.
    """
    try:
        from obstore.store import MemoryStore, from_url  # 11 ms, and only for buckets
    except ImportError as error:
        message = f"The result store {safe_url(url)!r} needs the package obstore: pip install 'ostinato[buckets]'."
        raise SettingError(message) from error
    try:
        return MemoryStore() if url.startswith("memory:") else from_url(url)
    except Exception as error:
        message = (
            f"The result store {safe_url(url)!r} cannot be opened ({_brief(error)}). Check the URL, OSTINATO_RESULTS "
            "and the credentials in the environment (AWS_*, GOOGLE_*, AZURE_*)."
        )
        raise SettingError(message) from error


def safe_url(url: str) -> str:
    """Show the URL without a password or a query."""
    scheme, found, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{found}{host.rpartition('@')[2]}{slash}{path}".partition("?")[0]


def _brief(error: BaseException) -> str:
    text = str(error).partition("\n")[0][:300]
    return f"{type(error).__name__}: {text}"


class Folder:
    """Blobs in a local folder: ``ab/abcdef…``, readable by their owner only."""

    def __init__(self, root: Path) -> None:
        """Name the folder; it is made by the first write."""
        self._root = root.absolute()
        self._shards: set[str] = set()

    def __repr__(self) -> str:
        """Show where it is."""
        return str(self._root)

    def find_age(self, name: str) -> float | None:
        """Return how long ago a blob was written; None if there is none."""
        try:
            return max(0.0, time.time() - self._path(name).stat().st_mtime)
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Write beside, sync, rename into place, sync the folder."""
        shard = self._root / name[:2]
        self._make(shard)
        write_whole(shard / name, data)

    def read(self, name: str) -> bytes:
        """Read a blob; FileNotFoundError if there is none."""
        return self._path(name).read_bytes()

    def pieces(self, name: str) -> Iterator[bytes]:
        """Read a blob piece by piece; FileNotFoundError, at the first, if there is none."""
        with self._path(name).open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece

    def remove(self, name: str, older: float) -> bool:
        """Take the blob away first, and put it back if somebody has just written it again."""
        path = self._path(name)
        aside = path.with_name(f"{_LOST}{name}")
        age = self.find_age(name)
        if age is None or age <= older:
            return False
        try:
            path.replace(aside)
            if time.time() - aside.stat().st_mtime <= older:
                aside.replace(path)
                return False
            aside.unlink()
        except FileNotFoundError:  # another sweeper
            return False
        return True

    def names(self, older: float) -> Iterator[str]:
        """List old blobs; clear away what writers and sweepers that died left behind."""
        horizon = time.time() - older
        for shard in sorted(self._root.glob("[0-9a-f][0-9a-f]")):
            for entry in sorted(os.scandir(shard), key=lambda entry: entry.name):
                with contextlib.suppress(FileNotFoundError):
                    if entry.stat().st_mtime >= horizon:
                        continue
                    if entry.name.startswith("."):
                        os.unlink(entry.path)  # noqa: PTH108
                    else:
                        yield entry.name

    def _path(self, name: str) -> Path:
        return self._root / name[:2] / name

    def _make(self, shard: Path) -> None:
        """Make the folder of a shard, and those above it, for good."""
        if shard.name in self._shards and shard.is_dir():
            return
        make_folder(shard)
        self._shards.add(shard.name)


def make_folder(wanted: Path) -> None:
    """Make a folder, and those above it, for good and for their owner only."""
    missing = [folder for folder in (wanted, *wanted.parents) if not folder.is_dir()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
        _sync(folder.parent)


def write_whole(path: Path, data: bytes | memoryview) -> None:
    """Write a file in a folder that is there: beside, synced, renamed into place, the folder synced."""
    handle, temporary = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    try:
        with open(handle, "wb", buffering=0) as file:  # noqa: PTH123  # a descriptor
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
            os.fsync(handle)
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108
        raise
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Make what was made or renamed in a folder survive a power loss."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Bucket:
    """Blobs in a bucket, whose puts are whole and for good by themselves."""

    def __init__(self, store: Any, url: str) -> None:
        """Use an obstore store."""
        self._store = store
        self._url = url

    def __repr__(self) -> str:
        """Show where it is."""
        return self._url

    def find_age(self, name: str) -> float | None:
        """Return how long ago a blob was written; None if there is none."""
        try:
            return _age(self._store.head(_key(name)))
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Put a blob."""
        self._store.put(_key(name), data)

    def read(self, name: str) -> bytes:
        """Read a blob; FileNotFoundError if there is none."""
        return bytes(self._store.get(_key(name)).bytes())

    def pieces(self, name: str) -> Iterator[bytes]:
        """Read a blob piece by piece; FileNotFoundError, at the first, if there is none."""
        yield from map(bytes, self._store.get(_key(name)).stream(min_chunk_size=_PIECE))

    def remove(self, name: str, older: float) -> bool:
        """Delete a blob that is old at this moment.

        A bucket cannot take aside: whoever puts a blob anew in the milliseconds between would lose it. Only
        a blob older than the grace, which nothing names, is at risk.
        """
        age = self.find_age(name)
        if age is None or age <= older:
            return False
        self._store.delete(_key(name))
        return True

    def names(self, older: float) -> Iterator[str]:
        """List old blobs."""
        for page in self._store.list():
            for entry in page:
                if _age(entry) > older:
                    yield entry["path"].rpartition("/")[2]


def _key(name: str) -> str:
    return f"{name[:2]}/{name}"


def _age(entry: Any) -> float:
    written: float = entry["last_modified"].timestamp()
    return max(0.0, time.time() - written)


def refuse(action: str, blobs: Blobs, error: BaseException) -> ResultError:
    """Say why a blob could not be read or written, and what to do."""
    if isinstance(error, OSError) and error.errno == 28:  # noqa: PLR2004  # no space left
        advice = "The disk is full: make room with `ostinato db prune`, or set OSTINATO_RESULTS to another place."
    elif isinstance(error, PermissionError) or (isinstance(error, OSError) and error.errno in (13, 30)):
        advice = "The place cannot be written by this user: correct its permissions, or set OSTINATO_RESULTS."
    elif isinstance(error, OstinatoError):
        return ResultError(f"The result store {blobs!r} could not {action}: {error}")
    else:
        advice = "Check OSTINATO_RESULTS, the network and the credentials in the environment."
    return ResultError(f"The result store {blobs!r} could not {action} ({_brief(error)}). {advice}")
