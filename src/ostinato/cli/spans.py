"""Spans of time and instants, as they are typed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from ostinato.clock import SECOND
from ostinato.errors import UsageError

_UNITS: Final = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_SPAN: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*")


def seconds_of(text: str, option: str, *, unit: str = "s") -> float:
    """Read a span: ``90s``, ``45min``, ``12h``, ``30d``, ``2w``; a bare number is in `unit`.

    Raises:
        UsageError: If it is none; it names the option.
    """
    found = _SPAN.fullmatch(text.lower())
    if found is None or (found[2] or unit) not in _UNITS:
        raise UsageError(f"{option} {text!r} is no span of time; write 30d, 12h or 45min.")
    return float(found[1]) * _UNITS[found[2] or unit]


def instant_of(text: str, option: str, now: int) -> int:
    """Read an instant: ISO 8601, in local time where no zone is given, or a span from now such as ``10min``.

    Raises:
        UsageError: If it is none; it names the option.
    """
    if _SPAN.fullmatch(text.lower()):
        return now + round(seconds_of(text, option) * SECOND)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{option} {text!r} is no time; write 2026-01-31T06:00, with a zone or without, or 10min."
        ) from None
    return (found.astimezone(UTC) - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)
