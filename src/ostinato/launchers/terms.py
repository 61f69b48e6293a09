"""On which terms runs get their processes."""

from __future__ import annotations

import msgspec

from ostinato.settings import Settings


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How runs get their processes."""

    settings: Settings
    """What run processes are given; without what user code must not know."""
    slots: int
    warm: int = 1
    """How many processes of each known place are kept ready."""
    runs_each: int = 1000
    """How many runs a process serves: starting one takes a third of a second of processor time."""
    growth: int = 200 << 20
    """A process that takes half as much again as after its first run, and so many bytes, is not used again."""
    grace: float = 10.0
    """Seconds for a run that was cancelled to stop by itself."""
    silence: float = 0.0
    tells_broken: bool = True
    """Whether it logs which modules cannot be imported; not where somebody else tells it."""
