"""What the API takes and gives of schedules, as models; see `ostinato.server.shapes`."""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field

from ostinato.server.shapes import Instant, Model, Name

ScheduleName = Annotated[str, Field(min_length=1, max_length=300)]


class Schedule(Model):
    """What makes runs of a deployment at certain times or upon certain events."""

    name: str
    deployment: str
    project: str | None = Field(description="The project that declares it; null for one that was added by hand.")
    kind: Literal["time", "event", "condition", "sensor"]
    when: str = Field(description="In words.")
    spec: Any = Field(description="As data; give it as `spec` to add another like it.")
    parameters: dict[str, Any]
    tags: list[str]
    paused: bool
    next_at: Instant | None = Field(description="When it is looked at next; null where no time will come.")
    since: Instant = Field(description="Every instant up to this one has been decided.")
    read: int = Field(description="The last event it has decided about.")
    cursor: str | None
    trouble: str | None = Field(description="Why the last look failed.")
    updated_at: Instant


class WhyIdle(Model):
    """One thing that keeps a schedule from starting runs, or kept it from starting some."""

    reason: str
    text: str
    data: dict[str, Any]


class ScheduleDetails(Schedule):
    """A schedule, and why it starts nothing where that is so."""

    why: list[WhyIdle]


class Tick(Model):
    """One decision of a schedule."""

    schedule: str
    key: str
    scheduled_at: Instant | None
    at: Instant
    outcome: Literal["started", "skipped", "failed"]
    reason: str | None
    run_id: str | None
    data: dict[str, Any]


class Foreseen(Model):
    """An instant that is to come."""

    scheduled_at: Instant
    starts_at: Instant = Field(description="With its jitter.")
    jitter: float = Field(description="Seconds.")
    local: str = Field(description="What the clock on the wall shows, with the offset.")
    note: str | None = Field(description="What the clocks' change does to it.")


class NewSchedule(Model):
    """A schedule to be added, or to replace one that was. When it fires is said in one of five ways."""

    deployment: Name
    name: ScheduleName | None = Field(None, description="By default `deployment:added`.")
    cron: str | None = Field(None, max_length=200)
    every: float | None = Field(None, description="Seconds.", gt=0)
    rrule: str | None = Field(None, max_length=1000)
    at: list[AwareDatetime] | None = Field(None, max_length=1000)
    spec: dict[str, Any] | None = Field(None, description="As `spec` of a schedule shows it, options and all.")
    timezone: Annotated[str, Field(max_length=100)] | None = None
    jitter: Annotated[float, Field(ge=0)] | None = Field(None, description="Seconds.")
    catchup: Literal["last", "all", "none"] | None = None
    start: AwareDatetime | None = None
    end: AwareDatetime | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    tags: list[Name] = Field(default_factory=list, max_length=100)
    paused: bool = False


class Replay(Model):
    """From where a schedule is to decide again: from a time, or from an event."""

    since: AwareDatetime | None = None
    from_event: Annotated[int, Field(ge=1)] | None = None
