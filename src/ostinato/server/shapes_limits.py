"""The shapes of limits in the public API."""

from __future__ import annotations

from pydantic import Field

from ostinato.server.shapes import Model


class Gate(Model):
    """One place where slots are counted: a limit, or one key's of it."""

    gate: str = Field(description="The limit's name, or name[key].")
    limit: str
    slots: int | None = Field(description="How many may hold it at once; null where only the rate is limited.")
    rate: float | None = Field(description="How many may begin a second.")
    rate_text: str | None = Field(description="The rate as a person would say it: 100/m.")
    burst: int
    held: int
    waiting: int
    next_at: str | None = Field(description="When the next token lets somebody in who waits for that.")
    by_hand: bool = Field(description="Somebody has declared it; that goes before what code says.")
    description: str


class Passage(Model):
    """Somebody who holds a slot, or waits for one."""

    run_id: str
    flow: str = Field(description="Empty for those far back in a long line.")
    seq: int | None = Field(description="The task run; null for the run itself.")
    share: str
    since: str
    granted_at: str | None


class GateLine(Gate):
    """A gate with its people."""

    holders: list[Passage]
    line: list[Passage] = Field(description="Who waits, whoever is next first.")


class Declared(Model):
    """What somebody has declared by hand."""

    slots: int | None
    rate: float | None
    burst: int
    weights: dict[str, float]
    description: str
    updated_at: str | None


class Limit(Model):
    """A limit with its gates."""

    name: str
    by_hand: Declared | None
    gates: list[GateLine]


class LimitChange(Model):
    """What is to hold from now on; what is left out stays."""

    slots: int | None = Field(None, ge=0, le=2**31 - 1)
    rate: str | float | None = Field(None, description="100/m, 5/s, or a number a second.")
    burst: int | None = Field(None, ge=1, le=2**31 - 1)
    weights: dict[str, float] = Field(default_factory=dict)
    description: str | None = Field(None, max_length=2000)
