"""Group commit for one run: callers that arrive while a commit is under way share the next one.

```
save ──► idle?  ── yes ─► the caller commits for itself (and for what rides along), no other thread involved
            └──── no ──► it waits; the committer thread takes all that has gathered in one transaction
note ──► rides on whatever commits next; the keeper sees to it that this is soon
```

Nothing here knows what is written. A commit that fails fails for all who shared it, and for good: the run must
end, since nobody can say whether the store has it.
"""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import msgspec

from ostinato.records import Commit, LogBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ostinato.records import Event, LogLine, RunEnd, Suspension, TaskRun
    from ostinato.store.store import Store

    Waiter = Callable[[list[Any], BaseException | None], None]

_MANY_LINES = 5_000
_QUICK = 0.000_5
"""Seconds."""


class Committer:
    """The thread that commits for callers that do not wait in a thread of their own. Started when first needed."""

    def __init__(self) -> None:
        self._work: SimpleQueue[Journal | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def wake(self, journal: Journal) -> None:
        """Have what has gathered in a journal committed."""
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="ostinato-committer", daemon=True)
                    self._thread.start()
        self._work.put(journal)

    def _run(self) -> None:
        while (journal := self._work.get()) is not None:
            journal.lead()

    def close(self) -> None:
        """End the thread after what it was asked for."""
        if self._thread is not None:
            self._work.put(None)
            self._thread.join(timeout=60)


class Journal:
    """What a run writes, gathered into few commits.

    Args:
        store: Where to.
        run_id: The run.
        epoch: The epoch under which this process holds it.
        committer: Commits for those who do not wait.
        on_failure: Called once with the error after which nothing can be written any more.
        on_cancel: Called when a commit reports that somebody asked to cancel the run.
    """

    def __init__(
        self,
        store: Store,
        run_id: str,
        epoch: int,
        committer: Committer,
        *,
        on_failure: Callable[[BaseException], None],
        on_cancel: Callable[[], None],
    ) -> None:
        self.store, self.run_id, self.epoch = store, run_id, epoch
        self.failure: BaseException | None = None
        self.is_cancelled = False
        """A commit has reported that somebody asked to cancel the run."""
        self._committer, self._on_failure, self._on_cancel = committer, on_failure, on_cancel
        self._lock = threading.Lock()
        self._rows: dict[int, TaskRun] = {}
        self._rest: dict[str, list[Any]] = {}
        self._end: RunEnd | None = None
        self._suspend: Suspension | None = None
        self._waiters: list[tuple[Waiter, Any]] = []
        self._busy = False
        self._lines: list[LogLine] = []
        self._batches = 0
        self._usual: float | None = None
        """Seconds that a commit takes, the latest counting most; None before the first."""

    def note(self, row: TaskRun) -> None:
        """Write a task run with whatever is committed next."""
        with self._lock:
            self._rows[row.seq] = row

    def name_blob(self, digest: str) -> None:
        """Say, with whatever is committed next, that this run's rows name a blob of the result store."""
        with self._lock:
            self._rest.setdefault("blobs", []).append(digest)

    def tell(self, event: Event) -> None:
        """Write an event with whatever is committed next."""
        with self._lock:
            self._rest.setdefault("events", []).append(event)

    def log(self, line: LogLine) -> None:
        """Write a log line with whatever is committed next."""
        with self._lock:
            self._lines.append(line)
            many = len(self._lines) % _MANY_LINES == 0
        if many:
            self.flush()

    def save(self, entries: Commit) -> None:
        """Write entries and wait until they are durable.

        Raises:
            StoreError: If they could not be written; this journal is closed then.
        """
        done: list[BaseException | None] = []
        event: threading.Event | None = None
        with self._lock:
            if self.failure is not None:
                raise self.failure
            self._merge(entries)
            if self._busy:
                event = threading.Event()
                self._waiters.append((_wake, (event, done)))
            else:
                self._busy = True
        if event is None:
            error = self._commit()
        else:
            event.wait()
            error = done[0]
        if error is not None:
            raise error

    @property
    def is_quick(self) -> bool:
        """Nothing is being committed, and the last commits took so little time that a loop may wait for one."""
        return not self._busy and self._usual is not None and self._usual < _QUICK

    def save_then(self, entries: Commit, waiter: Waiter, argument: Any) -> None:
        """Write entries; when they are durable, call ``waiter(arguments, error)``.

        All of one waiter's arguments that shared a commit come in one call, from the committer's thread.
        """
        with self._lock:
            failure = self.failure
            if failure is None:
                self._merge(entries)
                self._waiters.append((waiter, argument))
                lead = not self._busy
                self._busy = True
        if failure is not None:
            waiter([argument], failure)
        elif lead:
            self._committer.wake(self)

    def flush(self) -> None:
        """Write what only rides along, if there is any and nobody commits anyway."""
        with self._lock:
            if self._busy or self.failure is not None or not (self._rows or self._lines):
                return
            self._busy = True
        self._commit()

    def lead(self) -> None:
        """Commit what has gathered, on the committer's thread."""
        self._commit()

    def _merge(self, entries: Commit) -> None:
        for row in entries.task_runs:
            self._rows[row.seq] = row
        for name in _LISTS:
            more = getattr(entries, name)
            if more:
                self._rest.setdefault(name, []).extend(more)
        self._end = entries.end or self._end
        self._suspend = entries.suspend or self._suspend

    def _take(self) -> tuple[Commit, list[tuple[Waiter, Any]]]:
        entries = Commit(task_runs=list(self._rows.values()), end=self._end, suspend=self._suspend, **self._rest)
        self._suspend = None
        self._rows, self._rest = {}, {}
        if self._lines:
            lines, self._lines = self._lines, []
            entries.logs = (self._batch(lines),)
        waiters, self._waiters = self._waiters, []
        return entries, waiters

    def _batch(self, lines: Sequence[LogLine]) -> LogBatch:
        self._batches += 1
        return LogBatch(
            run_id=self.run_id,
            epoch=self.epoch,
            n=self._batches - 1,
            first_at=lines[0].at,
            last_at=lines[-1].at,
            level=max(line.level for line in lines),
            lines=msgspec.json.encode(lines),
        )

    def _commit(self) -> BaseException | None:
        """Commit one batch as the leader; give the lead away, or lay it down."""
        with self._lock:
            entries, waiters = self._take()
        error: BaseException | None = self.failure
        cancelled = False
        if error is None:
            began = time.monotonic()
            try:
                cancelled = self.store.commit(self.run_id, self.epoch, entries)
            except BaseException as raised:  # all who shared the commit must hear of it
                error = raised
            took = time.monotonic() - began
            self._usual = took if self._usual is None else self._usual + (took - self._usual) / 4
        with self._lock:
            first_failure = error is not None and self.failure is None
            if first_failure:
                self.failure = error
            self.is_cancelled = self.is_cancelled or cancelled
            more = bool(self._waiters)
            self._busy = more
        _tell(waiters, error)  # before the next commit: who waits for that one finds this one noted
        if more:
            self._committer.wake(self)
        if first_failure and error is not None:
            self._on_failure(error)
        elif cancelled:
            self._on_cancel()
        return error


_LISTS = ("attempts", "events", "states", "cached", "blobs", "orphans", "leaves")


def _tell(waiters: list[tuple[Waiter, Any]], error: BaseException | None) -> None:
    grouped: dict[Waiter, list[Any]] = {}
    for waiter, argument in waiters:
        grouped.setdefault(waiter, []).append(argument)
    for waiter, arguments in grouped.items():
        waiter(arguments, error)


def _wake(arguments: list[Any], error: BaseException | None) -> None:
    for event, done in arguments:
        done.append(error)
        event.set()
