"""What a test sees of runs and notifications."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from ostinato.clock import to_datetime
from ostinato.outcomes import parse_failure
from ostinato.records import LogLine
from ostinato.runtime.line import value_of

if TYPE_CHECKING:
    from datetime import datetime

    from ostinato.io.results import ResultStore
    from ostinato.records import Run, TaskRun
    from ostinato.states import State
    from ostinato.store.store import Store


@dataclass(frozen=True, slots=True)
class Notification:
    """What an automation would have sent: nothing leaves a test."""

    automation: str
    to: str
    """The address, or the URL of a webhook."""
    title: str
    body: Any
    """A text; of a webhook what it would post."""
    at: datetime


class WorldRun:
    """A run as it stood when it was asked for.

    Args:
        run: The row.
        store: Where the rest is.
        results: Where large values are.
    """

    def __init__(self, run: Run, store: Store, results: ResultStore) -> None:
        self.row = run
        """Everything that is stored of it."""
        self._store, self._results = store, results

    @property
    def id(self) -> str:
        """Its id."""
        return self.row.id

    @property
    def flow(self) -> str:
        """The name of its flow."""
        return self.row.flow

    @property
    def deployment(self) -> str | None:
        """The deployment that it was started from."""
        return self.row.deployment

    @property
    def state(self) -> State:
        """Its state; it compares to a text: ``run.state == "failed"``."""
        return self.row.state

    @property
    def reason(self) -> str | None:
        """Why it is in that state."""
        return self.row.reason

    @property
    def attempt(self) -> int:
        """Which attempt of the run this is, from 1."""
        return self.row.attempt

    @property
    def parameters(self) -> dict[str, Any]:
        """What it was started with."""
        found: dict[str, Any] = {} if self.row.parameters is None else self._results.load(self.row.parameters)
        return found

    @property
    def scheduled_at(self) -> datetime | None:
        """The instant it was meant for."""
        return _moment(self.row.scheduled_at)

    @property
    def created_at(self) -> datetime:
        """When it was made."""
        return to_datetime(self.row.created_at)

    @property
    def started_at(self) -> datetime | None:
        """When it began."""
        return _moment(self.row.started_at)

    @property
    def finished_at(self) -> datetime | None:
        """When it ended."""
        return _moment(self.row.finished_at)

    def result(self) -> Any:
        """Return what it returned.

        Raises:
            RunCancelledError: If it was cancelled.
            RunFailedError: If it has failed; the message says how.
        """
        return value_of(self.row, self._results)

    @property
    def error(self) -> str | None:
        """What it failed with, in a line: ``ValueError: no rows``."""
        failure = parse_failure(self.row.error)
        return None if failure is None else failure.line

    @property
    def task_runs(self) -> list[TaskRun]:
        """Its task runs in the order in which they were made; journaled values left out."""
        return [row for row in self._store.list_task_runs(self.id) if row.kind not in {"value", "wait"}]

    @property
    def logs(self) -> list[str]:
        """The lines that it wrote."""
        found = []
        for batch in self._store.read_logs(self.id, limit=10_000):
            found += [line.message for line in msgspec.json.decode(batch.lines, type=list[LogLine])]
        return found

    def __repr__(self) -> str:
        """Show what it is a run of, and how it stands."""
        why = f", {self.reason}" if self.reason else ""
        return f"<WorldRun {self.deployment or self.flow} {self.state}{why}>"


def _moment(instant: int | None) -> datetime | None:
    return None if instant is None else to_datetime(instant)
