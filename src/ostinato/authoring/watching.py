"""Notice saved files of a project, for ``ostinato dev``: by looking, since it costs little and works everywhere.

Each look stats the files that are known. A folder is listed again only when its own time of change says that something
was made, renamed or deleted in it. 500 files in 50 folders take about a millisecond.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Final

from ostinato.authoring.project import is_skipped

INTERVAL: Final = 0.25
"""Seconds between two looks."""
_QUIET: Final = 0.03
"""Seconds without a further change after which a change is told: editors write in several steps."""
_TICK: Final = 100_000_000
"""Nanoseconds by which the times of files may be coarse."""
_LONGEST: Final = 1.0
"""Seconds after which a change is told though more come."""
_SUFFIXES: Final = (".py", ".toml", ".lock")

_Stamp = tuple[int, int, int]


class Watcher:
    """Watches the Python files of a folder, its ``pyproject.toml`` and lock files.

    Args:
        root: The folder.
        interval: Seconds between two looks.
    """

    def __init__(self, root: str | os.PathLike[str], *, interval: float = INTERVAL) -> None:
        self._root = os.path.abspath(root)  # noqa: PTH100  # text throughout, for speed
        self._interval = interval
        self._stopped = threading.Event()
        self._folders: dict[str, tuple[int, list[str], list[str]]] = {}
        """By folder: when it changed last, its files that are watched, the folders in it."""
        self._files: dict[str, _Stamp] = self._look()

    def poll(self) -> set[str]:
        """Look once; return the paths that were changed, made or deleted since the last look."""
        before, self._files = self._files, self._look()
        if before == self._files:
            return set()
        both = before.keys() | self._files.keys()
        return {path for path in both if before.get(path) != self._files.get(path)}

    def wait(self, timeout: float | None = None) -> set[str]:
        """Wait for changes; return their paths once no more come.

        Args:
            timeout: Seconds after which to return without any; None to wait until `stop`.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while not self._stopped.wait(
            self._interval if until is None else min(self._interval, until - time.monotonic())
        ):
            changed = self.poll()
            if changed:
                return self._settle(changed)
            if until is not None and time.monotonic() >= until:
                break
        return set()

    def stop(self) -> None:
        """End a `wait`, from any thread."""
        self._stopped.set()

    def _settle(self, changed: set[str]) -> set[str]:
        until = time.monotonic() + _LONGEST
        while time.monotonic() < until and not self._stopped.wait(_QUIET):
            more = self.poll()
            if not more:
                break
            changed |= more
        return changed

    def _look(self) -> dict[str, _Stamp]:
        found: dict[str, _Stamp] = {}
        known, self._folders = self._folders, {}
        left = [self._root]
        while left:
            folder = left.pop()
            listed = self._list(folder, known.get(folder))
            if listed is None:
                continue
            self._folders[folder] = listed
            left += listed[2]
            for path in listed[1]:
                try:
                    status = os.stat(path)  # noqa: PTH116
                except OSError:
                    continue
                found[path] = (status.st_mtime_ns, status.st_size, status.st_ino)
        return found

    def _list(
        self, folder: str, known: tuple[int, list[str], list[str]] | None
    ) -> tuple[int, list[str], list[str]] | None:
        """List a folder, unless it has not changed; None for one that is gone."""
        try:
            changed = os.stat(folder).st_mtime_ns  # noqa: PTH116
            if known is not None and known[0] == changed:
                return known
            is_sure = time.time_ns() - changed > _TICK
            with os.scandir(folder) as entries:
                every = list(entries)
        except OSError:
            return None
        folders = [e.path for e in every if e.is_dir(follow_symlinks=False) and not is_skipped(folder, e.name)]
        # Another change within the same tick of the clock would not show: such a folder is listed once more.
        return changed if is_sure else 0, [e.path for e in every if e.name.endswith(_SUFFIXES) and e.is_file()], folders
