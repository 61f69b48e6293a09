"""How long the past is kept, by class, and what retention finds and removes of it.

```
Cuts: one instant for each class, before which it may go
    runs ─ with their task runs, attempts, results, questions           looks ─ the runs in which sensors look
    logs ─ lines of whatever run         events ─ read by everybody      ticks ─ with firings and deliveries
```
"""

from __future__ import annotations

import msgspec


class Cuts(msgspec.Struct, frozen=True, kw_only=True):
    """Before which instant what ended, or happened, may go; None where all of it stays."""

    runs: int | None = None
    looks: int | None = None
    logs: int | None = None
    events: int | None = None
    ticks: int | None = None
    """Of schedules and sensors; what webhooks have delivered, too."""
    firings: int | None = None
    interrupted: bool = False
    """Whether interrupted runs, which could still go on, may go as well."""


class OldRuns(msgspec.Struct, frozen=True, kw_only=True):
    """A page of runs that may go, each with all that reaches it."""

    ids: list[str] = []
    after: str | None = None
    """Where the next page begins; None when this was the last."""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """Why something old is still kept."""

    by: str
    """``automations``, ``schedule <name>``, ``run <id>``."""
    count: int = 0
    """How many it has still to read."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """How much of one class there is, and what the next pruning removes of it."""

    name: str
    rows: int
    size: int | None = None
    """Bytes on disk, where the database can tell."""
    oldest_at: int | None = None
    before: int | None = None
    """What is older than this may go."""
    going: int = 0
    """How many rows that are, runs with what hangs on them counted once."""
    held: list[Held] = []
    """Who has not read yet what is old enough."""
