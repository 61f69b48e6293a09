"""What people and programs change is on record: an event for each change, with who made it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ostinato.records import Event

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ostinato.store.store import Store

LOCAL = "local"
"""Whoever has the database itself, or an open server on this machine."""


def audit(
    store: Store, actor: str | None, act: str, what: str, *, run_id: str = "", more: Mapping[str, Any] | None = None
) -> None:
    """Record a change; one that is made through a server is recorded by that.

    Args:
        store: Where it was made.
        actor: Who made it: ``user:ada``, ``token:ci``; None for whoever has the database itself.
        act: The noun and what was done to it: ``deployment_paused``.
        what: The name or id of what was changed.
        run_id: The run it belongs to, if any.
        more: What else is worth knowing; nothing secret.
    """
    if hasattr(store, "token"):
        return
    data = {"actor": actor or LOCAL, "what": what, **(more or {})}
    text = msgspec.json.encode(data).decode()
    # the key is what it is about, so that who did it last can be asked for
    store.emit([Event(at=store.now(), kind=f"audit.{act}", run_id=run_id, data=text, key=what)])
