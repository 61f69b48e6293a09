"""`replay`: a schedule decides again from a time, or an event, on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ostinato.clock import to_rfc3339
from ostinato.errors import UsageError

if TYPE_CHECKING:
    from ostinato.store.store import Store
    from ostinato.timing import Schedule


def rewind(store: Store, name: str, *, since: int | None = None, from_event: int | None = None) -> Schedule:
    """Have a schedule decide again.

    Args:
        store: Where it is.
        name: The schedule.
        since: The first instant that is decided again, where time drives it.
        from_event: The number of the first event, where events do.

    Raises:
        UnknownNameError: If there is none of that name.
        UsageError: If both or none are given, or the other one would be right, or there is nothing to replay.
    """
    if (since is None) == (from_event is None):
        raise UsageError("Say from where: a time (`since`) or the number of an event (`from_event`), one of them.")
    row = store.get_schedule(name)
    if row.kind == "sensor":
        raise UsageError(f"{name} is a sensor: give it another cursor instead.")
    if row.kind == "time" and since is None:
        raise UsageError(f"{name} is driven by time: say `since` when.")
    if row.kind == "event" and from_event is None:
        raise UsageError(f"{name} is driven by events: say `from_event` which.")
    if since is not None and since > store.now():
        raise UsageError(f"{to_rfc3339(since)} is not past yet; there is nothing to replay.")
    return store.rewind_schedule(
        name, since=None if since is None else since - 1, read=None if from_event is None else from_event - 1
    )
