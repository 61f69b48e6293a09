"""The states of runs and task runs, and every move between them, as data.

```
scheduled ─► queued ─► running ─► succeeded | failed | crashed | cancelled | skipped
               ▲         ▲ │
               │         │ ▼
               └──── waiting | retrying
```

Runs and task runs share the one closed list. *Why* something is in a state is a reason, a field of
its own. Terminal states absorb: within one epoch nothing leaves them. Only a deliberate act that
raises the run's epoch (resume, retry, rerun, mark, or recovery after a lost lease) opens something again.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class State(StrEnum):
    """Where a run or a task run stands."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CRASHED = "crashed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing leaves this state within an epoch."""
        return self in TERMINAL

    @property
    def is_live(self) -> bool:
        """Whether a process must hold a lease for this state to be true."""
        return self in LIVE


TERMINAL: Final = frozenset({State.SUCCEEDED, State.FAILED, State.CRASHED, State.CANCELLED, State.SKIPPED})
LIVE: Final = frozenset({State.RUNNING, State.WAITING, State.RETRYING})

_ENDS: Final = TERMINAL

TRANSITIONS: Final[dict[State, frozenset[State]]] = {
    State.SCHEDULED: frozenset({State.QUEUED, State.RUNNING, State.CANCELLED, State.SKIPPED}),
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED, State.SKIPPED}),
    State.RUNNING: _ENDS | {State.WAITING, State.RETRYING},
    State.WAITING: _ENDS | {State.RUNNING, State.QUEUED},
    State.RETRYING: _ENDS | {State.RUNNING, State.QUEUED},
    **{state: frozenset[State]() for state in TERMINAL},
}
"""What may follow what within one epoch."""

REOPENINGS: Final[dict[State, frozenset[State]]] = {
    **{state: frozenset({State.QUEUED, State.CRASHED}) for state in LIVE},
    **{state: frozenset({State.SCHEDULED, State.QUEUED}) | TERMINAL for state in TERMINAL},
    State.QUEUED: TERMINAL,
    State.SCHEDULED: TERMINAL,
}
"""What may follow what when the run's epoch is raised: recovery, resume, retry, rerun, mark."""


def allowed(before: State, after: State, *, new_epoch: bool = False) -> bool:
    """Tell whether a run or task run may go from `before` to `after`.

    Args:
        before: The state it is in.
        after: The state it would be in.
        new_epoch: Whether the run's epoch is raised in the same commit.
    """
    return after in TRANSITIONS[before] or (new_epoch and after in REOPENINGS[before])
