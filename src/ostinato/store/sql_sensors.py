"""What a look at a sensor came to, stored whole and once; and a sensor's cursor set by hand.

```
run of a look, held in its epoch ─► report ─► schedule locked: still the look that was asked for? ─► decide
```

Looks are numbered: `Schedule.read` of a sensor is the number of its newest look. A report of an older one comes late
and is refused, and so is one of a process that does not hold the run of its look any more. One that is repeated changes
nothing: its ticks are there already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from ostinato.errors import StaleEpochError, UsageError
from ostinato.store import deciding, statements, statements_timing
from ostinato.store.rows import records
from ostinato.store.transactions import Session, Transactions
from ostinato.timing import Schedule

if TYPE_CHECKING:
    from ostinato.timing import Decision

_HELD_LOOK: Final = f"""
    SELECT run.created_by FROM run JOIN worker ON worker.id = run.worker_id
    WHERE run.id = :id AND run.epoch = :epoch AND run.kind = 'sensor' AND run.state IN ({statements.LIVE_STATES})
        AND worker.expires_at > :now"""  # noqa: S608  # names of our own states
_LOCK_RUN: Final = "SELECT 1 FROM run WHERE id = :id FOR UPDATE"
_SET_CURSOR: Final = """
    UPDATE schedule SET cursor = :cursor, read = read + 1, next_at = :now, turn = turn + 1, trouble = NULL
    WHERE name = :name"""


class SqlSensors(Transactions):
    """See `ostinato.store.timing.Schedules`."""

    def report_look(self, run_id: str, epoch: int, decision: Decision) -> bool:
        """Store what a look at a sensor came to, if it is still the newest; tell whether it was stored."""
        stored = self._write(lambda tx: report_look(tx, run_id, epoch, decision))
        if stored and decision.runs:
            self._hint()
        return stored

    def put_cursor(self, name: str, cursor: str | None) -> Schedule:
        """Set a sensor's cursor by hand and have it looked at now; a look that is under way does not count."""

        def work(tx: Session) -> Schedule:
            tx.put(statements.SHARE_CATALOG)
            row = _find(tx, name)
            if row is None or row.kind != "sensor":
                raise UsageError(
                    f"There is no sensor {name!r}: only a sensor has a cursor. See `ostinato sensors list`."
                )
            tx.change(_SET_CURSOR, name=name, cursor=cursor, now=tx.now())
            changed = _find(tx, name)
            assert changed is not None
            return changed

        changed = self._write(work, again=False)
        self._hint()
        return changed


def report_look(tx: Session, run_id: str, epoch: int, decision: Decision) -> bool:
    """Store a look's decision unless it comes late.

    Raises:
        StaleEpochError: If the look's run is not held in this epoch.
    """
    tx.put(statements.SHARE_CATALOG)
    row = _find(tx, decision.schedule)
    tx.rows(_LOCK_RUN, id=run_id)
    held = tx.rows(_HELD_LOOK, id=run_id, epoch=epoch, now=tx.now())
    if not held or held[0][0] != f"schedule:{decision.schedule}":
        raise StaleEpochError(
            f"Run {run_id} is no look at {decision.schedule} that is held in epoch {epoch}. Nothing was written."
        )
    if row is None or row.read != decision.read:
        return False
    return bool(deciding.decide(tx, [msgspec.structs.replace(decision, turn=row.turn)]))


def _find(tx: Session, name: str) -> Schedule | None:
    found = records(Schedule, tx.rows(statements_timing.LOCK_SCHEDULE, name=name))
    return found[0] if found else None
