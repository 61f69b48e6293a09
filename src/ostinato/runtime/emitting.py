"""Events that are emitted outside of any run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ostinato.authoring.flow import LOADING
from ostinato.errors import UsageError
from ostinato.records import Event
from ostinato.runtime.finding import store_of
from ostinato.settings import load_settings
from ostinato.waiting import check_emitted

if TYPE_CHECKING:
    from ostinato.store.store import Store


def emit_elsewhere(kind: str, key: str, data: str) -> None:
    """Emit an event from a program that is no run.

    Raises:
        UsageError: While a project is only looked at.
    """
    if LOADING.get():
        message = (
            f"emit({kind!r}) was called while the module was imported. Emit in a flow, or under `if __name__ == …`."
        )
        raise UsageError(message)
    with store_of(load_settings()) as store:
        emit_to(store, kind, key, data)


def emit_to(store: Store, kind: str, key: str, data: str) -> Event:
    """Emit an event of a user.

    Args:
        store: Where to.
        kind: What has happened.
        key: What it is about.
        data: JSON.

    Returns:
        What was emitted.

    Raises:
        UsageError: If the kind or the key is not as it must be.
    """
    check_emitted(kind, key)
    event = Event(at=store.now(), kind=kind, run_id="", data=data, key=key)
    store.emit([event])
    return event
