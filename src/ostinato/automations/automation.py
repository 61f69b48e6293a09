"""`Automation`: when this happens, or does not, do that. A server watches; no flow of yours needs to run for it.

```
alarm = Automation(
    when=RunFailed(flow="etl/*"),
    then=[Notify("env:SLACK_URL", body="{flow} failed: {error}"), Escalate(timedelta(minutes=30), Notify("boss"))],
    once_per=timedelta(hours=1),
    silence=Weekly("sat,sun"),
)
```

Put it in a variable at the top of a module of the project, and it is deployed with the flows. It sees what happens from
then on. It does not see what it has itself started or emitted, so that it cannot run in a circle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostinato.automations.actions import (
    MOST,
    Action,
    action_of,
    actions_of,
    steps_of,
    without_secrets,
)
from ostinato.automations.silences import Silence, silence_of, silences_of
from ostinato.automations.triggers import (
    Trigger,
    check_trigger,
    trigger_of,
)
from ostinato.errors import DefinitionError, nearest
from ostinato.specs import Name, refuse, to_span, to_words
from ostinato.timing import AutomationRow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

_LONGEST_NAME: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Automation:
    """A trigger and what is done when it is met.

    Args:
        when: The trigger.
        then: An action, or several, which do not wait for one another.
        name: Unique; by default the name of the variable it is in.
        description: What it is for.
        flow: Only what concerns runs of this flow or deployment, or of these; ``*`` stands for anything.
        tags: Only what concerns runs with all of these tags.
        owner: Only what concerns runs of deployments that this person or team owns, or one of these.
        once_per: Of firings about the same thing (a deployment, an event's key) only the first within this span does
            anything.
        silence: When nothing is done, though it is on record: `Weekly`, `During`, or several.
        paused: Whether it begins paused.

    Raises:
        DefinitionError: If a value makes no sense.
    """

    when: Trigger
    then: Action | Sequence[Action]
    name: str = ""
    description: str = ""
    flow: Name | Sequence[Name] | None = ()
    tags: str | Sequence[str] = ()
    owner: str | Sequence[str] | None = ()
    once_per: timedelta | float | None = None
    silence: Silence | Sequence[Silence] | None = ()
    paused: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        if not isinstance(self.name, str) or len(self.name) > _LONGEST_NAME or self.name != self.name.strip():
            raise refuse(self, "name", f"a text of at most {_LONGEST_NAME} characters", self.name)
        if not isinstance(self.description, str):
            raise refuse(self, "description", "a text", self.description)
        check_trigger(self, "when", self.when)
        object.__setattr__(self, "then", actions_of(self, self.then))
        if len(steps_of(self.actions)) > MOST:
            raise DefinitionError(f"Automation(then=...) takes {MOST} actions at most, those of escalations included.")
        for name in ("flow", "tags", "owner"):
            to_words(self, name)
        to_span(self, "once_per", null=True)
        object.__setattr__(self, "silence", silences_of(self, self.silence))
        if not isinstance(self.paused, bool):
            raise refuse(self, "paused", "True or False", self.paused)

    @property
    def actions(self) -> tuple[Action, ...]:
        """What is done, as a tuple."""
        found: Any = self.then
        return tuple(found)

    def __repr__(self) -> str:
        """Show the name."""
        return f"<Automation {self.name or 'without a name'}>"


_WORDS: Final = ("flow", "tags", "owner")
_FIELDS: Final = ("when", "then", *_WORDS, "once_per", "silence")


def to_spec(automation: Automation) -> str:
    """Write what a server must know of an automation, as JSON; its name, description and pause stand beside it."""
    spec: dict[str, Any] = {"when": automation.when.to_data(), "then": [each.to_data() for each in automation.actions]}
    spec |= {name: list(found) for name in _WORDS if (found := getattr(automation, name))}
    span: Any = automation.once_per
    if span is not None:
        spec["once_per"] = span.total_seconds()
    silences: Any = automation.silence
    if silences:
        spec["silence"] = [each.to_data() for each in silences]
    return msgspec.json.encode(spec).decode()


def from_spec(spec: str | dict[str, Any], *, name: str = "", description: str = "", paused: bool = False) -> Automation:
    """Make an automation of what `to_spec` has written, or of what somebody has sent.

    Raises:
        DefinitionError: Saying what is wrong, and where.
    """
    try:
        data = msgspec.json.decode(spec) if isinstance(spec, str) else spec
    except msgspec.DecodeError as error:
        raise DefinitionError(f"The automation is no JSON: {error}.") from None
    if not isinstance(data, dict):
        raise DefinitionError(f"An automation is an object with {', '.join(_FIELDS)}; got {type(data).__name__}.")
    for key in data:
        if key not in _FIELDS:
            raise DefinitionError(f"An automation has no {key!r}.{nearest(key, _FIELDS)} It has {', '.join(_FIELDS)}.")
    for key in ("when", "then"):
        if key not in data:
            raise DefinitionError(f"The automation has no {key!r}: it needs a trigger (when) and actions (then).")
    then, silence = data["then"], data.get("silence", [])
    return Automation(
        name=name,
        description=description,
        paused=paused,
        when=trigger_of(data["when"]),
        then=[action_of(each) for each in (then if isinstance(then, list) else [then])],
        silence=[silence_of(each) for each in (silence if isinstance(silence, list) else [silence])],
        once_per=data.get("once_per"),
        **{key: data[key] for key in _WORDS if key in data},
    )


def row_of(automation: Automation, name: str = "", project: str = "") -> AutomationRow:
    """Describe an automation as it is stored.

    Args:
        automation: The automation.
        name: Its name where it has none of its own.
        project: The project that declares it.

    Raises:
        DefinitionError: If it has no name at all.
    """
    named = automation.name or name
    if not named:
        raise DefinitionError("An automation needs a name.")
    return AutomationRow(
        name=named,
        project=project,
        spec=to_spec(automation),
        description=automation.description,
        paused=automation.paused,
    )


def spec_shown(spec: str) -> dict[str, Any]:
    """Return a stored spec as anybody may see it: without the secret parts of addresses."""
    data: dict[str, Any] = msgspec.json.decode(spec)
    return {**data, "then": without_secrets(data.get("then", []))}
