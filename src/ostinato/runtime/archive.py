"""Runs that were forgotten, kept as compressed JSON lines that any program reads.

```
<archive>/runs/2026-11-22/<first run>-<n>-<digest>.jsonl.gz     the day: when the runs in it ended
    {"id": …, "flow": …, "state": …, "task_runs": [{…, "result": …}], "events": […], "logs": […]}      a run a line
```

A file is written before its runs are removed, under a name that its runs make. So what dies between the two writes the
same file again, or the same runs into another one: whoever reads takes each run once, as it was written last.
Large results are not in it, only what they were: they go with their run.
"""

from __future__ import annotations

import gzip
import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostinato.clock import to_datetime, to_rfc3339
from ostinato.errors import OstinatoError, StoreError, UnknownRunError, nearest
from ostinato.io.serializers import to_json
from ostinato.io.shelf import open_shelf
from ostinato.records import LogLine
from ostinato.runtime.overview import details, log_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ostinato.records import Run, StoredEvent, TaskRun
    from ostinato.store.store import Store

_PAGE: Final = 1000
_BATCHES: Final = 100
_SUFFIX: Final = ".jsonl.gz"
_FOLDER: Final = "runs/"
_lines = msgspec.json.Decoder(list[LogLine]).decode


class Archive:
    """A folder or a bucket with runs that are no longer in the store.

    Args:
        url: Where.
    """

    def __init__(self, url: str) -> None:
        self._shelf = open_shelf(url)

    def __repr__(self) -> str:
        """Show where it is."""
        return repr(self._shelf)

    def write(self, store: Store, run_ids: Sequence[str]) -> list[str]:
        """Keep runs, for good before this returns.

        Returns:
            The runs that were kept: some may be gone by now.

        Raises:
            StoreError: The archive cannot be written.
        """
        days: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for run_id in run_ids:
            try:
                run = store.get_run(run_id)
            except UnknownRunError:  # another server's pruner
                continue
            days[_day(run)].append(describe(store, run))
        for day, runs in days.items():
            digest = hashlib.sha256("\n".join(run["id"] for run in runs).encode()).hexdigest()[:12]
            name = f"{_FOLDER}{day}/{runs[0]['id']}-{len(runs)}-{digest}{_SUFFIX}"
            data = b"".join(msgspec.json.encode(run) + b"\n" for run in runs)
            self._guarded("written", lambda n=name, d=data: self._shelf.write(n, gzip.compress(d, 6, mtime=0)))  # type: ignore[misc]
        return [run["id"] for runs in days.values() for run in runs]

    def runs(self, *, since: str = "", until: str = "~") -> Iterator[dict[str, Any]]:
        """Read runs, those that ended last first, each once.

        Args:
            since: The first day, ``2026-11-22``.
            until: The last day.
        """
        seen: set[str] = set()
        for line in self._raw(since, until):
            run = msgspec.json.decode(line)
            if run["id"] not in seen:
                seen.add(run["id"])
                yield run

    def find(self, fragment: str) -> dict[str, Any]:
        """Find a run by its id, or the unique beginning or end of it.

        Raises:
            UnknownRunError: If there is none, or several.
        """
        known: set[str] = set()
        found: dict[str, dict[str, Any]] = {}
        for line in self._raw("", "~"):
            run_id = _id_of(line)
            known.add(run_id)
            if (run_id.startswith(fragment) or run_id.endswith(fragment)) and run_id not in found:
                found[run_id] = msgspec.json.decode(line)
        if len(found) == 1:
            return found.popitem()[1]
        if found:
            raise UnknownRunError(f"Several runs in the archive {self!r} fit {fragment!r}: {', '.join(sorted(found))}.")
        raise UnknownRunError(
            f"There is no run {fragment!r} in the archive {self!r}.{nearest(fragment, sorted(known))}"
        )

    def _raw(self, since: str, until: str) -> Iterator[bytes]:
        """Read lines of the days in question, the newest day first."""
        names = self._guarded("listed", lambda: sorted(self._shelf.names(), reverse=True))
        for name in names:
            day = name.removeprefix(_FOLDER).partition("/")[0]
            if name.startswith(_FOLDER) and name.endswith(_SUFFIX) and since <= day <= until:
                yield from gzip.decompress(self._guarded("read", lambda n=name: self._shelf.read(n))).splitlines()  # type: ignore[misc]

    def _guarded(self, action: str, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except OstinatoError:
            raise
        except Exception as error:
            text = str(error).partition("\n")[0][:300]
            raise StoreError(
                f"The archive {self!r} could not be {action} ({type(error).__name__}: {text}). Nothing is forgotten "
                f"before it is in the archive. Look at the place and at OSTINATO_RETENTION_ARCHIVE."
            ) from error


def _day(run: Run) -> str:
    return f"{to_datetime(run.finished_at or run.created_at):%Y-%m-%d}"


def _id_of(line: bytes) -> str:
    """Read the id alone: it stands first."""
    return line[7 : line.index(b'"', 7)].decode()


def describe(store: Store, run: Run) -> dict[str, Any]:
    """Describe a run as ``runs show --json`` does, with its events and log lines; nothing is unpickled."""
    rows = list(_task_runs(store, run.id))
    shape = details(run, rows, store.list_attempts(run.id))
    results = {row.seq: to_json(row.result) for row in rows if row.result is not None}
    for shown in shape["task_runs"]:
        shown["result"] = results.get(shown["seq"])
    names = {row.seq: row.task for row in rows}
    shape["trigger"] = None if run.trigger is None else msgspec.json.decode(run.trigger)
    shape["events"] = [_event(each) for each in _events(store, run.id)]
    shape["logs"] = [
        log_line(line, names.get(line.seq) if line.seq is not None else None) for line in _logs(store, run.id)
    ]
    return shape


def _task_runs(store: Store, run_id: str) -> Iterator[TaskRun]:
    after = -1
    while page := store.list_task_runs(run_id, after=after, limit=_PAGE):
        yield from page
        after = page[-1].seq


def _events(store: Store, run_id: str) -> Iterator[StoredEvent]:
    after = 0
    while page := store.list_events(run_id, after=after, limit=_PAGE):
        yield from page
        after = page[-1].id


def _logs(store: Store, run_id: str) -> Iterator[LogLine]:
    after = (-1, -1)
    while page := store.read_logs(run_id, after=after, limit=_BATCHES):
        for batch in page:
            yield from _lines(batch.lines)
        after = page[-1].epoch, page[-1].n


def _event(stored: StoredEvent) -> dict[str, Any]:
    event = stored.event
    shown = {"id": stored.id, "at": to_rfc3339(event.at), "kind": event.kind, "seq": event.seq, "key": event.key}
    return {**shown, "data": msgspec.json.decode(event.data)}
