"""What the API takes and gives about sensors; see `ostinato.server.shapes`."""

from typing import Any

from pydantic import Field

from ostinato.server.shapes import Instant, Model


class Sensor(Model):
    """A function that looks at something outside and requests runs."""

    name: str
    project: str
    target: str | None
    pool: str | None
    description: str
    broken: str | None
    every: float = Field(description="Seconds from one look to the next.")
    timeout: float | None
    paused: bool
    cursor: Any = Field(description="What the next look is given.")
    next_at: Instant | None
    looked_at: Instant | None = Field(description="When the last look was asked for.")
    well_at: Instant | None = Field(description="When the last look began that went well.")
    failures: int = Field(description="In a row.")
    trouble: str | None


class CursorChange(Model):
    """A cursor, set by hand."""

    cursor: Any = Field(None, description="Any JSON; null to forget it.")
