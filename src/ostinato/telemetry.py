"""The public stream of what happens in this process: whoever wants to look on subscribes.

The journal is private; this is not. The live display, logs, and later metrics, traces and lineage take from
the one stream. With no subscriber an event costs one comparison.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Subscriber = Callable[[str, Any], None]

_subscribers: tuple[Subscriber, ...] = ()


def subscribe(subscriber: Subscriber) -> Callable[[], None]:
    """Call ``subscriber(name, subject)`` for every event from now on, in the thread where it happens.

    Returns:
        What ends the subscription.
    """
    global _subscribers  # noqa: PLW0603  # replaced whole, so that emit never locks
    _subscribers = (*_subscribers, subscriber)

    def unsubscribe() -> None:
        global _subscribers  # noqa: PLW0603  # replaced whole, so that emit never locks
        _subscribers = tuple(s for s in _subscribers if s is not subscriber)

    return unsubscribe


def emit(name: str, subject: Any) -> None:
    """Tell the subscribers that something happened.

    Args:
        name: What: ``run.started``, ``task_run.running``, ``task_run.saved``, ``map.grew``, ``log`` …
        subject: What it happened to: a record, read-only.
    """
    for subscriber in _subscribers:
        try:
            subscriber(name, subject)
        except Exception:
            logging.getLogger("ostinato").exception("A subscriber of %s failed; the run goes on.", name)
