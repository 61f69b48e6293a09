"""What an automation does: tell somebody, start something, hold something back.

Texts are templates (`ostinato.automations.templates`). Addresses may be ``env:NAME``: the server's own environment has
them, so that no password stands in code or in the database.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from ostinato.automations.templates import check
from ostinato.errors import DefinitionError
from ostinato.specs import NESTED, Name, from_data, name_of, refuse, to_data, to_span, to_words

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

_ENV: Final = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*")
_CHANNEL: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_OURS: Final = (
    *("run", "task_run", "schedule", "sensor", "ask", "limit", "automation"),
    *("worker", "deployment", "audit", "asset", "check", "ostinato"),
)
"""The first words of kinds that only Ostinato emits."""
MOST: Final = 20
"""How many actions an automation may have, those of escalations included."""


class Action:
    """Something to do."""

    __slots__ = ()

    def to_data(self) -> dict[str, Any]:
        """Describe it as JSON."""
        return to_data(self)


@dataclass(frozen=True, slots=True)
class Notify(Action):
    """Tell somebody, through Apprise: e-mail, Slack, Teams, PagerDuty and a hundred more (extra ``notify``).

    Args:
        to: An Apprise URL, ``env:NAME`` for one that the server's environment has, or a channel's name: ``ops`` is
            what ``OSTINATO_CHANNEL_OPS`` holds there. Or several.
        title: A template.
        body: A template.
    """

    to: str | Sequence[str] = ()
    title: str = "{automation}"
    body: str = "{summary}\n{url}"

    def __post_init__(self) -> None:
        """Check the values."""
        to_words(self, "to")
        if not self.to:
            raise DefinitionError("Notify(...) takes whom to tell: an Apprise URL, 'env:NAME' or a channel's name.")
        for address in self.to:
            if not any(form.fullmatch(address) for form in (_URL, _ENV, _CHANNEL)):
                raise refuse(self, "to", "an Apprise URL, 'env:NAME' or a channel's name", address)
        _check_text(self, "title")
        _check_text(self, "body")


@dataclass(frozen=True, slots=True)
class Webhook(Action):
    """Send an HTTP request with JSON; an answer of 200 to 299 is a success.

    Args:
        url: Where to, or ``env:NAME``.
        body: What to send, a structure of templates; None for all that is known of the event.
        headers: Besides ``Content-Type`` and ``Idempotency-Key``. A value may be ``env:NAME``.
        method: POST, PUT or PATCH.
    """

    url: str
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "POST"

    def __post_init__(self) -> None:
        """Check the values."""
        web = isinstance(self.url, str) and re.fullmatch(r"https?://\S+", self.url)
        if not web and not (isinstance(self.url, str) and _ENV.fullmatch(self.url)):
            raise refuse(self, "url", "an http(s) URL or 'env:NAME'", self.url)
        if self.method not in ("POST", "PUT", "PATCH"):
            raise refuse(self, "method", "POST, PUT or PATCH", self.method)
        headers = self.headers
        if not isinstance(headers, dict) or not all(
            isinstance(text, str) and "\n" not in text and "\r" not in text for pair in headers.items() for text in pair
        ):
            raise refuse(self, "headers", "an object of texts, each of one line", headers)
        check(self.body, "Webhook(body=...)")


@dataclass(frozen=True, slots=True)
class Start(Action):
    """Start a run of a deployment; once, however often the server is killed meanwhile.

    Args:
        flow: The flow or the deployment, or its name as ``ostinato start`` takes it.
        parameters: Templates; ``"{data.amount}"`` alone keeps its type.
        tags: Of the run, besides the deployment's.
    """

    flow: Name
    parameters: dict[str, Any] = field(default_factory=dict)
    tags: str | Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check the values."""
        name = name_of(self.flow)
        if not isinstance(name, str) or not name:
            raise refuse(self, "flow", "a flow, a deployment or its name", self.flow)
        object.__setattr__(self, "flow", name)
        if not isinstance(self.parameters, dict):
            raise refuse(self, "parameters", "an object of parameters by name", self.parameters)
        check(self.parameters, "Start(parameters=...)")
        to_words(self, "tags")


@dataclass(frozen=True, slots=True)
class Pause(Action):
    """Pause a deployment, whose runs then wait, or a schedule, which then starts none.

    Args:
        deployment: Its name; None, and no schedule, for that of the run that it is about.
        schedule: The schedule's name.
    """

    deployment: Name | None = None
    schedule: str | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        _check_held(self)


@dataclass(frozen=True, slots=True)
class Resume(Action):
    """Resume a deployment or a schedule.

    Args:
        deployment: Its name; None, and no schedule, for that of the run that it is about.
        schedule: The schedule's name.
    """

    deployment: Name | None = None
    schedule: str | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        _check_held(self)


@dataclass(frozen=True, slots=True)
class CancelRun(Action):
    """Cancel the run that it is about, with its child runs."""


@dataclass(frozen=True, slots=True)
class Emit(Action):
    """Emit an event, for other automations, consumers and runs that wait.

    Args:
        kind: Its kind, ``orders.stuck``.
        key: A template.
        data: A structure of templates.
    """

    kind: str
    key: str = ""
    data: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the values."""
        if not isinstance(self.kind, str) or not re.fullmatch(r"[a-z][a-z0-9_]*(\.[A-Za-z0-9_-]+)*", self.kind):
            raise refuse(self, "kind", "an event's kind like 'orders.stuck'", self.kind)
        if self.kind.partition(".")[0] in _OURS:
            head = self.kind.partition(".")[0]
            raise DefinitionError(f"Emit({self.kind!r}): events {head}.… are Ostinato's own. Begin with another word.")
        _check_text(self, "key")
        if not isinstance(self.data, dict):
            raise refuse(self, "data", "an object", self.data)
        check(self.data, "Emit(data=...)")


@dataclass(frozen=True, slots=True)
class Escalate(Action):
    """Do more, unless somebody has acknowledged the firing by then.

    Args:
        after: How long to wait for that.
        then: What to do: one action or several, another escalation too.
    """

    after: timedelta | float
    then: Any = field(metadata=NESTED, default=())

    def __post_init__(self) -> None:
        """Check the values."""
        to_span(self, "after")
        object.__setattr__(self, "then", actions_of(self, self.then))


def _check_text(action: Any, name: str) -> None:
    if not isinstance(getattr(action, name), str):
        raise refuse(action, name, "a text", getattr(action, name))
    check(getattr(action, name), f"{type(action).__name__}({name}=...)")


def _check_held(action: Any) -> None:
    if action.deployment is not None and action.schedule is not None:
        raise DefinitionError(f"{type(action).__name__}(...) takes a deployment or a schedule, not both.")
    for name in ("deployment", "schedule"):
        value = name_of(getattr(action, name))
        if value is not None and (not isinstance(value, str) or not value):
            raise refuse(action, name, "a name", value)
        object.__setattr__(action, name, value)


def actions_of(owner: object, then: Any) -> tuple[Action, ...]:
    """Read one action or several.

    Raises:
        DefinitionError: If there is none, or something else among them.
    """
    several = tuple(then) if isinstance(then, (list, tuple)) else (then,)
    for each in several:
        if isinstance(each, type) and issubclass(each, Action):
            raise DefinitionError(f"{type(owner).__name__}(then={each.__name__}): call it: {each.__name__}(...).")
        if not isinstance(each, Action):
            raise refuse(owner, "then", f"an action or a list of them: {', '.join(KINDS)}", each)
    if not several:
        raise DefinitionError(f"{type(owner).__name__}(then=...) takes one action or more: {', '.join(KINDS)}.")
    return several


KINDS: Final[dict[str, type[Any]]] = {
    kind.__name__: kind for kind in (Notify, Webhook, Start, Pause, Resume, CancelRun, Emit, Escalate)
}
"""All actions, by name."""


def action_of(data: Any) -> Action:
    """Make the action that some JSON describes.

    Raises:
        DefinitionError: If it describes none.
    """
    made: Action = from_data(data, KINDS, "action")
    return made


@dataclass(frozen=True, slots=True)
class Step:
    """An action in its place: how long after the firing, and whether an acknowledgement makes it needless."""

    action: Action
    delay: float = 0.0
    """Seconds."""
    escalates: bool = False


def steps_of(then: Sequence[Action], delay: float = 0.0, *, escalates: bool = False) -> list[Step]:
    """Lay out actions in the order they are given: those of escalations among them, a step for each who is told."""
    steps: list[Step] = []
    for action in then:
        if isinstance(action, Escalate):
            later: Any = action.after
            steps += steps_of(action.then, delay + later.total_seconds(), escalates=True)
        elif isinstance(action, Notify):
            steps += [Step(replace(action, to=address), delay, escalates) for address in action.to]
        else:
            steps.append(Step(action, delay, escalates))
    return steps


def without_secrets(data: Any) -> Any:
    """Return an action's JSON as anybody may see it: of addresses only the first part is left."""
    if isinstance(data, list):
        return [without_secrets(item) for item in data]
    if not isinstance(data, dict):
        return data
    shown = {name: without_secrets(value) for name, value in data.items()}
    if data.get("type") == "Notify":
        to = data.get("to", [])
        shown["to"] = [_veiled(address) for address in ([to] if isinstance(to, str) else to)]
    if data.get("type") == "Webhook":
        shown["url"] = re.sub(r"//[^/@]*@", "//…@", str(data.get("url", ""))).partition("?")[0]
        shown["headers"] = {
            name: value if str(value).startswith("env:") else "…" for name, value in data.get("headers", {}).items()
        }
    return shown


def _veiled(address: str) -> str:
    scheme, found, _ = address.partition("://")
    return f"{scheme}://…" if found else address
