"""A figure: what was measured, its floor in the same run, and what it should reach."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any, Literal

PER_SECOND = "/s"


@dataclass(frozen=True)
class Target:
    """What to reach: a bound on the median, or on its ratio to the floor.

    Args:
        bound: The number to stay on the right side of.
        side: Whether the figure is to be at most or at least that.
        of: What is bounded.
    """

    bound: float
    side: Literal["≤", "≥"] = "≤"
    of: Literal["value", "ratio"] = "value"

    def is_met(self, figure: Figure) -> bool:
        """Tell whether a figure reaches it."""
        found = figure.median if self.of == "value" else figure.ratio
        if found is None:
            return False
        return found <= self.bound if self.side == "≤" else found >= self.bound

    def text(self, unit: str) -> str:
        """Say it in a table."""
        return (
            f"{self.side} {self.bound:g} x floor" if self.of == "ratio" else f"{self.side} {quantity(self.bound, unit)}"
        )


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Args:
        name: What was measured.
        unit: ``µs``, ``ms``, ``s``, ``MB``, ``MiB``, a count, or something per second.
        values: What each run gave.
        durability: What an acknowledged result survived while this was measured; empty where nothing is stored.
        floor: What the floor gave, in the same unit, run by run beside `values` where there are as many.
        floor_name: What the floor is.
        target: What to reach, if anything.
    """

    name: str
    unit: str
    values: tuple[float, ...]
    durability: str = ""
    floor: tuple[float, ...] = ()
    floor_name: str = ""
    target: Target | None = None

    @property
    def median(self) -> float:
        """The figure itself."""
        return statistics.median(self.values)

    @property
    def ratio(self) -> float | None:
        """How many times its floor it costs (for rates: how many times slower), the median over the rounds."""
        if not self.floor:
            return None
        if len(self.floor) == len(self.values):
            return statistics.median(self._over(*pair) for pair in zip(self.values, self.floor, strict=True))
        return self._over(self.median, statistics.median(self.floor))

    def _over(self, value: float, floor: float) -> float:
        return floor / value if self.unit.endswith(PER_SECOND) else value / floor

    @property
    def verdict(self) -> str:
        """``met``, ``missed``, or nothing where there is no target."""
        return "" if self.target is None else "met" if self.target.is_met(self) else "missed"

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "name": self.name,
            "unit": self.unit,
            "durability": self.durability,
            "median": self.median,
            "values": list(self.values),
            "floor": list(self.floor),
            "floor_name": self.floor_name,
            "ratio": self.ratio,
            "target": None if self.target is None else self.target.text(self.unit),
            "verdict": self.verdict,
        }


def quantity(value: float, unit: str) -> str:
    """Write a number with its unit, to three digits or so."""
    digits = 0 if abs(value) >= 100 or value == int(value) else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {unit}".rstrip()
