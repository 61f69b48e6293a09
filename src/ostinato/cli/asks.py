"""``ostinato asks list | show | answer``: questions that runs wait for people to answer."""

from __future__ import annotations

import json as jsons
from getpass import getuser
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.text import Text

from ostinato.cli.options import AsJson, Params, read_given, store
from ostinato.cli.screen import show as show_on
from ostinato.cli.screen import show_json, table, when
from ostinato.errors import UsageError
from ostinato.runtime.asking import answer as give
from ostinato.runtime.asking import ask_shape
from ostinato.runtime.auditing import audit
from ostinato.runtime.fields import fields_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ostinato.timing import Ask

AskId = Annotated[str, Parameter(name="ID", help="A question's id, as `asks list` shows it.")]
OfRun = Annotated[str | None, Parameter(name="--run", help="Only those of this run, by its whole id.")]
All = Annotated[bool, Parameter(name=["--all", "-a"], negative=(), help="Those that are closed too.")]
Fields = Annotated[
    list[str] | None,
    Parameter(name=["--param", "-p"], negative=(), help="A field as name=value; the value is JSON or plain text."),
]
Values = Annotated[str | None, Parameter(name="--json-values", help="All fields, as one JSON object.")]
By = Annotated[
    str | None, Parameter(name="--by", help="Who answers, where nobody is logged in; by default who you are here.")
]
_COLOURS = {"open": "yellow", "answered": "green"}


def list_asks(*, run: OfRun = None, all: All = False, json: AsJson = False) -> None:  # noqa: A002  the option's name
    """List the questions that are open, newest first."""
    with store() as opened:
        asks, now = opened.list_asks(is_open=not all, run_id=run), opened.now()
    if json:
        show_json([ask_shape(ask) for ask in asks])
        return
    if not asks:
        print("Nobody is asked anything.")
        return
    made = table("ask", "title", "flow", "for", "answers", "asked", "expires", "", whole=("ask", "asked"))
    for ask in asks:
        given = len(jsons.loads(ask.answers))
        made.add_row(
            ask.id,
            ask.title,
            ask.flow,
            ask.whom or "operators",
            f"{given} of {ask.needed}",
            when(ask.created_at, now),
            when(ask.expires_at, now),
            Text("" if ask.state == "open" else ask.state, _COLOURS.get(ask.state, "dim")),
        )
    show_on(made)


def show(ask: AskId, /, *, json: AsJson = False) -> None:
    """Show a question, the form of its answer, and what was answered."""
    with store() as opened:
        found, now = opened.get_ask(ask), opened.now()
    shape = ask_shape(found)
    if json:
        show_json(shape)
        return
    made = table("", "", whole=("",))
    facts = {
        "state": found.state,
        "run": f"{found.run_id} of {found.flow}",
        "about": found.description,
        "for": found.whom or "any operator",
        "asked": when(found.created_at, now),
        "expires": when(found.expires_at, now) or "never",
        "needed": f"{found.needed} {'person' if found.needed == 1 else 'people'}",
    }
    for name, text in facts.items():
        if text:
            made.add_row(Text(name, "dim"), text)
    form = table("field", "type", "", whole=("field",))
    for name, rule in shape["form"].get("properties", {}).items():
        form.add_row(name, _type(rule), _about(rule, is_required=name in shape["form"].get("required", ())))
    show_on(Text(found.title, "bold"), made, form)
    for each in shape["answers"]:
        print(f"{each['by']} answered: {jsons.dumps(each['values'], ensure_ascii=False)}")
    if found.state == "open":
        print(f"Answer it: {_example(found, shape)}")


def answer(
    ask: AskId, /, *, param: Fields = None, json_values: Values = None, by: By = None, json: AsJson = False
) -> None:
    """Answer a question; with the last answer that is needed its run goes on."""
    with store() as opened:
        found = opened.get_ask(ask)
        values = _read(found, param, json_values)
        given = give(opened, ask, by or f"user:{getuser()}", values)
        audit(opened, by, "ask_answered", ask, run_id=found.run_id)
    if json:
        show_json(ask_shape(given))
        return
    left = given.needed - len(jsons.loads(given.answers))
    if given.state == "answered":
        print(f"Run {given.run_id} of {given.flow} goes on.")
    else:
        print(f"Your answer is kept. {left} more {'person has' if left == 1 else 'people have'} to answer.")


def _read(ask: Ask, param: Params, json_values: str | None) -> dict[str, Any]:
    values = {} if json_values is None else _object(json_values)
    return values | read_given(param, None, lambda name, text: _value(ask, name, text))


def _object(text: str) -> dict[str, Any]:
    try:
        found = jsons.loads(text)
    except ValueError as error:
        raise UsageError(f"--json-values is no JSON: {error}.") from None
    if not isinstance(found, dict):
        raise UsageError(f"--json-values is a JSON object of fields, not {text[:40]}.")
    return found


def _value(ask: Ask, name: str, text: str) -> Any:
    """Read what was typed as JSON if the form takes that, else as it stands."""
    try:
        parsed = jsons.loads(text)
    except ValueError:
        return text
    fields = fields_of(ask.schema)
    fits = [each for each in (parsed, text) if name not in fields.refuse_all({name: each}, "is unknown.")]
    return fits[0] if fits else parsed


def _type(rule: Mapping[str, Any]) -> str:
    if "enum" in rule:
        return " | ".join(map(str, rule["enum"]))
    if "anyOf" in rule:
        return " | ".join(_type(each) for each in rule["anyOf"])
    return str(rule.get("format") or rule.get("type") or "anything")


def _about(rule: Mapping[str, Any], *, is_required: bool) -> str:
    default = f"by default {jsons.dumps(rule['default'])}" if "default" in rule else ""
    return rule.get("description") or ("required" if is_required else default)


def _example(ask: Ask, shape: Mapping[str, Any]) -> str:
    names = shape["form"].get("required") or list(shape["form"].get("properties", {}))[:1]
    return f"ostinato asks answer {ask.id}" + "".join(f" -p {name}=…" for name in names)
