"""A firing as it is stored: what met the trigger, the actions as they were then, and how far each has come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostinato.automations.actions import Step, action_of, steps_of
from ostinato.clock import SECOND
from ostinato.ids import new_id
from ostinato.timing import Firing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ostinato.engine.judging import Verdict
    from ostinato.timing import AutomationRow

OPEN: Final = ("pending", "trying")


class Progress(msgspec.Struct, kw_only=True):
    """How far one step has come."""

    state: str = "pending"
    """``pending``, ``trying``, ``done``, ``failed`` or ``skipped`` (acknowledged before it was due)."""
    attempts: int = 0
    due_at: int | None = None
    at: int | None = None
    """When it was last tried, or came to its end."""
    error: str | None = None
    note: str | None = None
    """What came of it."""

    @property
    def is_open(self) -> bool:
        """Whether there is something left to do."""
        return self.state in OPEN


def firing_of(row: AutomationRow, verdict: Verdict, now: int) -> Firing:
    """Make the firing of a verdict."""
    identity = new_id(now)
    values = {**verdict.values, "automation": row.name, "firing": identity}
    data: dict[str, Any] = {"values": values}
    if verdict.state != "pending":
        return Firing(
            id=identity, automation=row.name, key=verdict.key, at=verdict.at, state=verdict.state, data=_json(data)
        )
    data["then"] = msgspec.json.decode(row.spec)["then"]
    progress = [Progress(due_at=now + round(step.delay * SECOND)) for step in steps(data["then"])]
    return Firing(
        id=identity,
        automation=row.name,
        key=verdict.key,
        at=verdict.at,
        state="pending",
        data=_json(data),
        progress=_json(progress),
        next_at=next_of(progress),
    )


def steps(then: Sequence[Any]) -> list[Step]:
    """Lay out actions that are described as JSON."""
    return steps_of([action_of(each) for each in then])


def progress_of(firing: Firing) -> list[Progress]:
    """Read how far each step has come."""
    return msgspec.json.decode(firing.progress, type=list[Progress])


def next_of(progress: Sequence[Progress]) -> int | None:
    """Say when something is to be done next."""
    return min((step.due_at for step in progress if step.is_open and step.due_at is not None), default=None)


def state_of(progress: Sequence[Progress]) -> str:
    """Say how a firing stands: it has failed once one step has, and all are over."""
    if any(step.is_open for step in progress):
        return "pending"
    return "failed" if any(step.state == "failed" for step in progress) else "done"


def with_progress(firing: Firing, progress: Sequence[Progress], next_at: int | None) -> Firing:
    """Return a firing that has come so far."""
    return msgspec.structs.replace(firing, progress=_json(progress), next_at=next_at, state=state_of(progress))


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
