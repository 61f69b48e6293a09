"""What a simulation comes to, as data: everything that the table, the JSON and the charts show."""

from __future__ import annotations

import msgspec


class Spread(msgspec.Struct, frozen=True):
    """Seconds: the middle one, the one that a twentieth exceeds, the longest."""

    p50: float = 0.0
    p95: float = 0.0
    max: float = 0.0


class Foretold(msgspec.Struct, frozen=True, kw_only=True):
    """What comes of one deployment."""

    deployment: str
    runs: int = 0
    """Runs that were made, those that were refused left out."""
    first_at: int | None = None
    last_at: int | None = None
    """When the first and the last of them were due."""
    ended: dict[str, int] = {}
    """How many ended how."""
    unfinished: int = 0
    """Those that had not ended when the time was over."""
    skipped: dict[str, int] = {}
    """What started nothing, or was ended unbegun, by its reason: ``overlap``, ``calendar``, ``refused`` …"""
    retried: int = 0
    """Runs that needed more than one attempt."""
    late: Spread = Spread()
    """From the instant that a run was meant for to its start."""
    waited: dict[str, float] = {}
    """Seconds that its runs have waited before they began, in all, by what for."""
    deadlines_missed: int = 0
    source: str = ""
    """Where its durations are from."""
    seconds: float = 0.0
    """What its runs took on average."""


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that keeps runs waiting."""

    name: str
    """``limit db``, ``overlap report``, ``pool default``, ``workers``, ``nobody serves gpu`` …"""
    runs: int
    """How many it has kept waiting."""
    waited: float
    """Seconds that they have waited for it, in all."""
    bound: float
    """Seconds during which somebody waited for it."""


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """One of the equal parts that the whole time is divided into."""

    at: int
    queued: float
    """How many runs waited, on average."""
    most_queued: int
    running: float
    most_running: int
    used: float
    """How much of all slots was in use, 0 to 1."""
    started: int
    late: int
    """How many were started more than a minute after they were meant to."""


class Played(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    deployment: str
    schedule: str
    scheduled_at: int
    """The instant it was meant for."""
    started_at: int | None
    finished_at: int | None
    state: str
    waited: dict[str, float] = {}


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """The whole."""

    begin: int
    end: int
    workers: int
    slots: int
    """Of all workers together."""
    seed: int
    took: float
    """Seconds that the simulation itself took."""
    runs: int
    deployments: list[Foretold] = []
    bindings: list[Binding] = []
    """What kept runs waiting, the worst first."""
    stretches: list[Stretch] = []
    used: float = 0.0
    """How much of all slots was in use, 0 to 1."""
    late: Spread = Spread()
    deadlines_missed: int = 0
    played: list[Played] = []
    """The runs in the order in which they were due; the first 100,000 of them."""
    notes: list[str] = []


def spread_of(seconds: list[float]) -> Spread:
    """Sum up how long something took; zeros for nothing."""
    if not seconds:
        return Spread()
    ordered = sorted(seconds)
    last = len(ordered) - 1
    return Spread(ordered[round(last * 0.5)], ordered[round(last * 0.95)], ordered[last])
