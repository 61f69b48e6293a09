"""Bundles on a worker's machine: fetched once, verified, unpacked for good, and removed when nobody uses them any more.

```
$OSTINATO_HOME/bundles/<hash>/        the project's folder
                       <hash>.env/    its environment, where the project says environment = "uv"
                       <hash>.lock    held while the environment is made
```

See `bundling.py` for what a bundle is. A folder appears under its name only when it is complete.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

import msgspec

from ostinato.authoring.project import find_project
from ostinato.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ostinato.io.results import ResultStore

_KEPT: Final = 20
_UNUSED: Final = 24 * 3600.0
"""Seconds for which a bundle that was used stays in any case: another worker of this machine may be at it."""
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_LONGEST_SYNC: Final = 1800.0
_READY: Final = ".ostinato-ready"


class Unpacked(msgspec.Struct, frozen=True):
    """A bundle that can be run from."""

    folder: Path
    python: str


class Bundles:
    """The bundles of one machine.

    Args:
        home: The folder they are kept in.
        results: Where they come from.
        kept: How many of those that were not used for a day stay.
    """

    def __init__(self, home: Path, results: ResultStore, *, kept: int = _KEPT) -> None:
        self._home, self._results, self._kept = home, results, kept
        self._lock = threading.Lock()
        self._known: dict[str, Unpacked] = {}

    def get(self, digest: str) -> Unpacked:
        """Return a bundle, unpacked; from any thread.

        Raises:
            ResultError: If it is missing, or not what its hash says.
            UsageError: If it cannot be unpacked, or its environment cannot be made.
        """
        if not _HASH.fullmatch(digest):
            raise UsageError(f"{digest!r} is no hash of a bundle: that has 64 hexadecimal digits.")
        with self._lock:
            found = self._known.get(digest)
            if found is None or not found.folder.is_dir():
                found = self._known[digest] = self._make(digest)
                self._remove_old()
        with contextlib.suppress(OSError):
            os.utime(found.folder)
        return found

    def _make(self, digest: str) -> Unpacked:
        folder = self._home / digest
        if not folder.is_dir():
            self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
            data = self._results.get(digest)  # verified there: the name is the hash
            _unpack(data, folder)
        python = sys.executable
        if find_project(folder).environment == "uv":
            python = _sync(folder)
        return Unpacked(folder, python)

    def _remove_old(self) -> None:
        before = time.time() - _UNUSED
        folders = [path for path in self._home.iterdir() if _HASH.fullmatch(path.name) and path.name not in self._known]
        old = sorted(((path.stat().st_mtime, path) for path in folders), reverse=True)
        for used_at, folder in old[self._kept :]:
            if used_at < before:
                for path in (folder, folder.with_suffix(".env")):
                    shutil.rmtree(path, ignore_errors=True)
                folder.with_suffix(".lock").unlink(missing_ok=True)


def _unpack(data: bytes, folder: Path) -> None:
    partial = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=folder.parent))
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
            for member in tar:
                _extract(tar, member, partial)
        try:
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another worker was quicker
                raise
    except (tarfile.TarError, OSError, EOFError) as error:
        raise UsageError(f"The bundle {folder.name} cannot be unpacked: {error}.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Write one file: a bundle holds nothing but regular files below its root."""
    path = PurePosixPath(member.name)
    source = tar.extractfile(member) if member.isreg() else None
    if source is None or path.is_absolute() or ".." in path.parts:
        raise UsageError(f"The bundle holds {member.name!r}, which is no file below its root: it is not used.")
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read())
    target.chmod(0o755 if member.mode & 0o100 else 0o644)


def _sync(folder: Path) -> str:
    """Make the environment that the bundle's lock file describes; return its interpreter."""
    environment = folder.with_suffix(".env")
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    uv = shutil.which("uv")
    if uv is None:
        raise UsageError(
            f'The project of bundle {folder.name} says environment = "uv", and there is no uv on this worker. '
            "Install it: pip install uv."
        )
    with _locked(folder.with_suffix(".lock")):
        if (environment / _READY).exists():
            return str(python)
        command = [uv, "sync", "--frozen", "--no-dev", "--no-install-project"]
        variables = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(environment)}
        variables.pop("VIRTUAL_ENV", None)
        try:
            done = subprocess.run(  # noqa: S603  # no shell, our words
                command, cwd=folder, env=variables, capture_output=True, text=True, check=False, timeout=_LONGEST_SYNC
            )
        except subprocess.TimeoutExpired:
            raise UsageError(f"uv sync has not ended within {_LONGEST_SYNC:g} s for bundle {folder.name}.") from None
        if done.returncode:
            raise UsageError(f"uv sync failed for bundle {folder.name}:\n{done.stderr.strip()[-4000:]}")
        (environment / _READY).touch()
    return str(python)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let only one worker of this machine at it."""
    import fcntl

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
