"""An outlook as plain data for JSON: instants written out, as everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostinato.clock import to_rfc3339

if TYPE_CHECKING:
    from ostinato.simulate.outlook import Outlook

_INSTANTS: Final = frozenset({"begin", "end", "at", "first_at", "last_at", "scheduled_at", "started_at", "finished_at"})


def to_data(outlook: Outlook) -> dict[str, Any]:
    """Describe it."""
    found: dict[str, Any] = _written(msgspec.to_builtins(outlook))
    return found


def _written(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: to_rfc3339(item) if key in _INSTANTS else _written(item) for key, item in value.items()}
    return [_written(item) for item in value] if isinstance(value, list) else value
