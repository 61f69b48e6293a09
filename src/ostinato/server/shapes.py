"""What the API takes and gives, as models: they make the OpenAPI document, and they check what is sent here.

What is given is written by msgspec from the dicts of `ostinato.runtime.overview`, not through these models (that
would take several times as long); a test holds every answer to its model.
"""

from typing import Annotated, Any, Generic, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ostinato.access import Role
from ostinato.states import State

T = TypeVar("T")
Name = Annotated[str, Field(min_length=1, max_length=200)]
Instant = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""RFC 3339, UTC, microseconds."""
Small = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]


class Model(BaseModel):
    """Refuses what it does not know."""

    model_config = ConfigDict(extra="forbid")


class Problem(Model):
    """An error, as application/problem+json."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "type": "urn:ostinato:ParameterError",
                "title": "Parameters refused",
                "status": 422,
                "detail": "The parameters of weather are refused; no run was made:\n  cities: is missing",
                "fields": {"cities": "is missing"},
            }
        },
    )

    type: str = Field(description="`urn:ostinato:` and the error's class, or `about:blank`.")
    title: str
    status: int
    detail: str = Field(description="What was expected, what came, what to do next.")
    fields: dict[str, str] | None = Field(None, description="A message for each field that is refused.")


class Page(Model, Generic[T]):
    """A page of a list."""

    items: list[T]
    next: str | None = Field(description="Give it as `cursor` for the page after this one; null on the last.")


class Error(Model):
    """A recorded exception."""

    type: str
    message: str
    traceback: str


class Run(Model):
    """A run."""

    id: str
    flow: str
    state: State
    reason: str | None
    epoch: int
    attempt: int
    parameters: Any
    created_at: Instant
    started_at: Instant | None
    finished_at: Instant | None
    result: Any
    error: Error | None
    tags: list[str]
    key: str | None
    target: str | None
    parent_run_id: str | None
    branch_of: str | None
    kind: str
    deployment: str | None
    pool: str | None
    queue: str | None
    priority: int
    scheduled_at: Instant | None
    cancel_requested_at: Instant | None
    recoveries: int
    worker_id: str | None
    created_by: str | None
    bundle: str | None
    counts: dict[str, int] | None = Field(None, description="Its task runs by state.")


class Attempt(Model):
    """An earlier try of a task run."""

    attempt: int
    epoch: int
    state: State
    reason: str | None
    started_at: Instant | None
    finished_at: Instant | None
    error: Error | None


class TaskRun(Model):
    """A call of a task inside a run, with its latest attempt."""

    id: str
    seq: int
    task: str
    key: str
    map_index: int | None
    partition: str | None
    state: State
    reason: str | None
    attempts: int
    earlier_attempts: list[Attempt] = Field(description="Empty in lists: see the attempts of the task run.")
    started_at: Instant | None
    finished_at: Instant | None
    upstream: list[str] = Field(description="Those of `upstream_seqs` that are on the same page, by id.")
    parent: str | None
    upstream_seqs: str = Field(description="What it depends on, by number: `1-5,8`.")
    parent_seq: int | None
    kind: str
    orphaned: bool
    error: Error | None
    child_run_id: str | None
    run_id: str


class LogLine(Model):
    """A line that a flow or a task wrote."""

    at: Instant
    level: int
    logger: str
    task: str | None
    seq: int | None
    attempt: int
    message: str


class Event(Model):
    """Something that happened."""

    id: int
    at: Instant
    kind: str
    run_id: str | None
    seq: int | None
    key: str | None = Field(description="What an event that a user emitted is about; null for our own.")
    data: Any


class Wait(Model):
    """Something that a run waits for without a process."""

    kind: str
    key: str | None
    seq: int | None
    due_at: Instant | None
    created_at: Instant


class StartRun(Model):
    """What to start, and how."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"deployment": "weather", "parameters": {"cities": ["Oslo"]}, "key": "2026-11-22"}
        },
    )

    deployment: Name
    parameters: dict[str, Any] = Field({}, description="Those that differ from the deployment's own.")
    key: Name | None = Field(None, description="A second start with it, for the same flow, gets the first one's run.")
    tags: list[Name] = Field([], max_length=50)
    start_at: AwareDatetime | None = None
    pool: Name | None = None
    queue: Name | None = None
    priority: int | None = Field(None, ge=-499, le=499)
    resources: dict[str, float] | None = Field(None, description="`cpu`, `memory` in bytes, `gpu`, any named.")


class Again(Model):
    """Which task runs are run again."""

    task: Name = Field(description="The task runs: a task's name, `name[index]`, a number or an id.")
    everything: bool = Field(False, description="Whether all that depends on them runs again, changed or not.")  # noqa: FBT003


class Mark(Model):
    """How a task run ended, as a person says."""

    state: str = Field(description="succeeded, failed, skipped or cancelled.", max_length=20)
    value: Any = None


class Deployment(Model):
    """A flow with what is needed to start it."""

    name: str
    flow: str
    project: str
    target: str
    pool: str
    queue: str
    priority: int
    parameters: dict[str, Any]
    schema_: dict[str, Any] = Field(alias="schema", description="JSON Schema of the parameters.")
    resources: dict[str, float]
    description: str
    tags: list[str]
    code_policy: str
    bundle: str | None
    paused: bool
    broken: str | None = Field(description="Why its module cannot be imported any more.")
    updated_at: Instant
    blueprint: Any = Field(None, description="Its tasks, branches and loops as read from the source; not in lists.")


class Project(Model):
    """A folder of the user's code, as it was last looked at."""

    name: str
    root: str
    host: str
    bundle: str | None
    errors: dict[str, str] = Field(description="The traceback of each module that cannot be imported, by its file.")
    python: str
    version: str
    updated_at: Instant


class DeployedFlow(Model):
    """A deployment as a project brings it. See `ostinato.work.Deployed`."""

    name: Name
    flow: Name
    target: Annotated[str, Field(max_length=2000)]
    pool: Name = "default"
    queue: Name = "default"
    priority: int = Field(0, ge=-499, le=499)
    parameters: dict[str, Any] = {}
    schema_: dict[str, Any] = Field({}, alias="schema")
    blueprint: Any = None
    resources: dict[str, float] | None = None
    options: dict[str, Any] = {}
    description: str = ""
    tags: list[Name] = []
    code: str | None = None
    code_policy: str = Field("latest", pattern="^(latest|pinned)$")
    bundle: str | None = None
    broken: str | None = None
    kind: str = Field("flow", pattern="^(flow|sensor)$")


class DeclaredSchedule(Model):
    """A schedule as a project brings it. See `ostinato.timing.Schedule`."""

    name: Annotated[str, Field(min_length=1, max_length=300)]
    deployment: Name
    kind: str = Field("time", pattern="^(time|event|condition|sensor)$")
    spec: dict[str, Any] = Field(examples=[{"cron": "0 6 * * MON-FRI", "timezone": "Europe/Oslo"}])
    parameters: dict[str, Any] = {}
    tags: list[Name] = []
    paused: bool = False
    cursor: str | None = None


class DeclaredAutomation(Model):
    """An automation as a project brings it. See `ostinato.timing.AutomationRow`."""

    name: Annotated[str, Field(min_length=1, max_length=300)]
    spec: dict[str, Any]
    description: str = ""
    paused: bool = False


class Manifest(Model):
    """What a project holds now."""

    root: str
    host: str = ""
    bundle: str | None = None
    errors: dict[str, str] = {}
    python: str = ""
    version: str = ""
    schedules: list[DeclaredSchedule] = Field([], max_length=20_000)
    automations: list[DeclaredAutomation] = Field([], max_length=5000)
    deployments: list[DeployedFlow] = Field(
        max_length=5000, examples=[[{"name": "weather", "flow": "weather", "target": "/srv/demo/flows.py:weather"}]]
    )


class Pool(Model):
    """A work pool."""

    name: str
    slots: int | None = Field(description="How many of its runs may be under way at once; null for any number.")
    paused: bool
    description: str
    waiting: int = Field(description="Runs in its queues.")
    workers: int = Field(description="Workers that serve it.")


class PoolChange(Model):
    """What a work pool is to be."""

    slots: int | None = Field(None, ge=0, le=2**31 - 1)
    paused: bool = False
    description: str = Field("", max_length=2000)


class Queue(Model):
    """A queue of a work pool."""

    pool: str
    name: str
    priority: int
    paused: bool
    waiting: int
    oldest_at: Instant | None


class QueueChange(Model):
    """What a queue is to be."""

    priority: int = Field(0, ge=-100, le=100)
    paused: bool = False


class Worker(Model):
    """A process that holds runs."""

    id: str
    kind: str
    host: str
    pid: int
    version: str
    started_at: Instant
    expires_at: Instant
    pools: list[str]
    slots: int
    resources: dict[str, Any]
    draining: bool
    runs: int = Field(description="How many runs it holds now.")


class UserShape(Model):
    """A person."""

    name: str
    role: Role
    created_at: Instant
    disabled: bool


class NewUser(Model):
    """Whom to add."""

    name: str
    role: Role = Role.VIEWER


class UserChange(Model):
    """What changes about a user."""

    role: Role | None = None
    disabled: bool | None = None


class TokenShape(Model):
    """A token, without itself."""

    id: str
    name: str
    role: Role
    user: str | None
    pools: list[str]
    created_at: Instant
    expires_at: Instant | None
    revoked_at: Instant | None


class NewToken(Model):
    """What token to make."""

    name: str
    role: Role | None = Field(None, description="By default what its user has.")
    user: str | None = None
    pools: list[Name] = []
    days: float | None = Field(
        None, gt=0, le=36_500, description="For how long it holds; null for until it is revoked."
    )


class MadeToken(Model):
    """A new token."""

    token: str = Field(description="Shown once, here.")
    kept: TokenShape


class Info(Model):
    """What this server is."""

    name: str
    version: str
    protocol: int
    dialect: str
    revision: str | None
    open: bool = Field(description="Whether it asks for no token.")
    you: str
    role: Role


class Health(Model):
    """Whether the server can do its work."""

    status: str


class Why(Model):
    """Why a run is as it is."""

    run_id: str
    task: str | None
    state: State
    reason: str | None
    since: Instant | None
    because: list[str] = Field(description="Sentences, the most important first.")
    advice: list[str] = Field(description="What can be done; empty where nothing needs to be.")
    facts: dict[str, Any] = Field(description="What the sentences are made of.")
