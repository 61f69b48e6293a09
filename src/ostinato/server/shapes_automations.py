"""What the API takes and gives of automations, as models; see `ostinato.server.shapes`."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from ostinato.server.shapes import Instant, Model


class Automation(Model):
    """When something happens, or does not, something is done."""

    name: str
    project: str | None = Field(description="The project that declares it; null for one that was added by hand.")
    when: str = Field(description="What it waits for, in words.")
    spec: dict[str, Any] = Field(description="As data; of addresses only the first part is shown.")
    description: str
    paused: bool
    silenced_until: Instant | None
    next_at: Instant | None = Field(description="When it must be shown the time though nothing happens.")
    trouble: str | None = Field(description="Why it cannot be judged.")
    updated_at: Instant | None


class NewAutomation(Model):
    """An automation to be added or changed."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "when": {"type": "RunFailed", "flow": "etl"},
                "then": [{"type": "Notify", "to": "env:SLACK_URL", "body": "{flow} failed: {error}"}],
                "once_per": 3600,
            }
        },
    )

    when: dict[str, Any] = Field(description='A trigger: {"type": "RunFailed", …}.')
    then: list[dict[str, Any]] = Field(description='Actions: [{"type": "Notify", …}].', min_length=1, max_length=20)
    description: str = Field("", max_length=10_000)
    flow: list[str] | str = Field([], description="Only what concerns runs of these.")
    tags: list[str] | str = Field([], description="Only what concerns runs with all of these.")
    owner: list[str] | str = Field([], description="Only runs of deployments that these own.")
    once_per: float | None = Field(None, gt=0, description="Seconds within which the same is told once.")
    silence: list[dict[str, Any]] = Field([], max_length=50)
    paused: bool = False


class SilenceOrder(Model):
    """How long an automation is to do nothing."""

    seconds: float = Field(ge=0, le=3.2e8, description="From now; 0 to let it speak again.")


class EventToPlay(Model):
    """An event that somebody made up."""

    kind: str = Field(max_length=200)
    key: str = Field("", max_length=1000)
    data: dict[str, Any] = Field({})
    run_id: str | None = Field(None, max_length=64)


class PlayOrder(Model):
    """What to play through an automation."""

    events: list[EventToPlay] = Field([], max_length=1000)
    run_id: str | None = Field(None, max_length=64, description="Instead: all that happened to this run.")


class PlayedVerdict(Model):
    """One time that it would fire."""

    key: str
    at: Instant
    state: Literal["pending", "duplicate", "silenced"]
    values: dict[str, Any]
    steps: list[dict[str, Any]] = Field(description="What would be done, filled in.")


class Played(Model):
    """What would come of events; nothing was done."""

    automation: str
    when: str
    events: int
    concerned: int = Field(description="How many of the events concern it.")
    verdicts: list[PlayedVerdict]
    next_at: Instant | None = Field(description="When time alone could make it fire after that.")


class FiringStep(Model):
    """One thing that is done, and how far it has come."""

    action: dict[str, Any]
    escalates: bool = Field(description="It is left out once somebody has acknowledged the firing.")
    state: Literal["pending", "trying", "done", "failed", "skipped"]
    attempts: int
    due_at: Instant | None
    at: Instant | None
    error: str | None
    note: str | None


class Firing(Model):
    """A trigger that was met, and what became of what was to be done."""

    id: str
    automation: str
    key: str = Field(description="What it is about.")
    at: Instant
    state: Literal["pending", "done", "failed", "silenced", "duplicate"]
    summary: str
    values: dict[str, Any]
    next_at: Instant | None
    acknowledged_at: Instant | None
    acknowledged_by: str | None
    steps: list[FiringStep]
