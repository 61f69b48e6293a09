"""What the API takes and gives of events that users emit, of questions and of webhooks."""

from typing import Any, Literal

from pydantic import Field

from ostinato.server.shapes import Instant, Model


class NewEvent(Model):
    """Something that has happened."""

    kind: str = Field(min_length=1, max_length=200, description="What: `orders.landed`. Kinds of our own are refused.")
    key: str = Field("", max_length=1000, description="What it is about, for those who wait for just that.")
    data: Any = Field(None, description="Anything that JSON can hold, 256 KiB at most.")


class Emitted(Model):
    """An event as it was stored."""

    kind: str
    key: str
    at: Instant


class Reply(Model):
    """What one person answered."""

    by: str
    at: Instant
    values: dict[str, Any]


class Ask(Model):
    """A question that a run waits for people to answer."""

    id: str
    run_id: str
    flow: str
    title: str
    description: str
    form: dict[str, Any] = Field(description="JSON Schema of an answer.")
    whom: str | None = Field(description="Who may answer: a user or a role; null for any operator.")
    needed: int
    created_at: Instant
    expires_at: Instant | None
    state: Literal["open", "answered", "expired", "withdrawn"]
    answers: list[Reply]


class NewReply(Model):
    """An answer."""

    values: dict[str, Any] = Field(description="By field of the form.")
    by: str = Field("", max_length=200, description="Who answers; heeded only where the server asks for no token.")


class Webhook(Model):
    """Who may send events from outside."""

    name: str
    kind: str
    key_from: str | None
    scheme: str
    header: str | None
    created_at: Instant


class Taken(Model):
    """What became of a message."""

    taken: bool
    duplicate: bool = Field(description="It was taken before, and its sender sent it again in good faith.")
