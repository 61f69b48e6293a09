"""Times and random values that stay the same when a body is run again: journaled where they are made.

In a flow's body ``datetime.now()`` gives another value after a crash, so every call it is passed to would be a new
one. These give the value of the first time. Outside a run they are what they are named after.
"""

from __future__ import annotations

import random as _random
import uuid
from typing import TYPE_CHECKING, Any

from ostinato.clock import SystemClock, to_datetime
from ostinato.context import find_frame

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime


def now() -> datetime:
    """Return the time now, aware, in UTC; in a run the time of the first pass."""
    frame = find_frame()
    clock = SystemClock() if frame is None or frame.runtime is None else frame.runtime.clock
    return to_datetime(_journaled("now", clock.now))


def uuid4() -> uuid.UUID:
    """Return a random UUID; in a run the one of the first pass."""
    return uuid.UUID(_journaled("uuid4", lambda: uuid.uuid4().hex))


def random() -> float:
    """Return a random number in [0, 1); in a run the one of the first pass. Not for secrets."""
    return float(_journaled("random", _random.random))


def _journaled(name: str, make: Callable[[], Any]) -> Any:
    frame = find_frame()
    return make() if frame is None or frame.runtime is None else frame.runtime.value(name, make)
