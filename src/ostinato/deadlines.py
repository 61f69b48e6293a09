"""`Due`: by when a run must have begun and ended. One that has not is late, and says so before anybody asks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ostinato.clock import SECOND
from ostinato.errors import DefinitionError
from ostinato.specs import from_data, refuse, to_data, to_span
from ostinato.timing import Deadline

if TYPE_CHECKING:
    from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Due:
    """When a run is late: ``@flow(deadline=Due(start=timedelta(minutes=5), end=timedelta(hours=2)))``.

    All spans are counted from the instant that the run was scheduled for; where nothing was, from when it was asked
    for. A late run goes on: use ``timeout`` to stop it. It has an event ``run.late``, which `Late` waits for.

    Args:
        start: It must have begun after this span.
        end: It must have ended after this span.
        times: It must have ended after so many times what the last successful runs took on average. Of this and
            `end` the earlier counts. Nothing is known of a deployment's first run.

    Raises:
        DefinitionError: If a value makes no sense.
    """

    start: timedelta | float | None = None
    end: timedelta | float | None = None
    times: float | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        to_span(self, "start", null=True)
        to_span(self, "end", null=True)
        number = isinstance(self.times, (int, float)) and not isinstance(self.times, bool)
        if self.times is not None and not (number and math.isfinite(self.times) and self.times > 0):
            raise refuse(self, "times", "a number above 0", self.times)
        if self.start is None and self.end is None and self.times is None:
            raise DefinitionError("Due(...) takes start=, end= or times=.")

    def to_data(self) -> dict[str, Any]:
        """Describe it as JSON."""
        return {name: value for name, value in to_data(self).items() if name != "type"}

    def rows(self, run_id: str, base: int, average: float | None = None) -> list[Deadline]:
        """Say by when a run must have begun and ended.

        Args:
            run_id: The run.
            base: The instant that the spans are counted from.
            average: Seconds that the last successful runs took, None where there were none.
        """
        start: Any = self.start
        end: Any = self.end
        spans = [] if end is None else [end.total_seconds()]
        if self.times is not None and average is not None:
            spans.append(self.times * average)
        rows = [] if start is None else [_row(run_id, "start", base, start.total_seconds())]
        return [*rows, _row(run_id, "end", base, min(spans))] if spans else rows


def _row(run_id: str, kind: str, base: int, seconds: float) -> Deadline:
    return Deadline(run_id=run_id, kind=kind, due_at=base + round(seconds * SECOND))


def due_of(data: Any) -> Due | None:
    """Make the `Due` that some JSON describes; None of None.

    Raises:
        DefinitionError: If it describes none.
    """
    return None if data is None else from_data({**data, "type": "Due"}, {"Due": Due}, "deadline")


def to_due(value: Due | timedelta | float | None) -> Due | None:
    """Read the `deadline` option: a span alone is short for ``Due(end=...)``.

    Raises:
        DefinitionError: If it is neither.
    """
    if value is None or isinstance(value, Due):
        return value
    try:
        return Due(end=value)
    except DefinitionError:
        raise DefinitionError(f"deadline must be Due(...) or a span of time, got {value!r}.") from None
