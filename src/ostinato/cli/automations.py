"""``ostinato automations list | show | test | pause | resume | silence | firings | ack | add | remove``."""

from __future__ import annotations

import json as jsons
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.text import Text

from ostinato.automations.actions import steps_of
from ostinato.automations.automation import from_spec, row_of
from ostinato.cli.options import AsJson, store
from ostinato.cli.screen import seconds_text, show_json, table, when
from ostinato.cli.screen import show as show_on
from ostinato.cli.spans import seconds_of
from ostinato.errors import OstinatoError, UnknownNameError, UsageError, nearest
from ostinato.ids import new_id
from ostinato.io.results import ResultStore
from ostinato.runtime.auditing import LOCAL, audit
from ostinato.runtime.delivering import Delivery, Order
from ostinato.runtime.finding import find_run
from ostinato.runtime.reacting import (
    automation_shape,
    event_of,
    events_of_run,
    firing_shape,
    play,
    silence_until,
)
from ostinato.settings import load_settings

if TYPE_CHECKING:
    from ostinato.automations.automation import Automation
    from ostinato.runtime.reacting import Played
    from ostinato.store.store import Store
    from ostinato.timing import AutomationRow

Name = Annotated[str, Parameter(name="NAME", help="An automation's name, as `automations list` shows it.")]
OfAutomation = Annotated[str | None, Parameter(name="NAME", help="Only those of this automation.")]
FiringId = Annotated[str, Parameter(name="FIRING", help="A firing's id, as `automations firings` shows it.")]
ByEvent = Annotated[
    list[str] | None,
    Parameter(name="--event", negative=(), help="An event as JSON, or a file with one or a list; repeatable."),
]
ByRun = Annotated[str | None, Parameter(name="--run", help="All that happened to this run.")]
Send = Annotated[bool, Parameter(name="--send", negative=(), help="Really do at once what is not an escalation.")]
For = Annotated[str, Parameter(name="--for", help="How long: 2h, 3d; 0 to let it speak again.")]
Last = Annotated[int, Parameter(name=["--limit", "-n"], help="How many; 20 by default.")]
SpecFile = Annotated[str, Parameter(name="FILE", help="A JSON file with when, then and what else an automation has.")]
About = Annotated[str, Parameter(name="--about", help="What it is for.")]

_STYLES = {"done": "green", "failed": "bold red", "pending": "cyan", "silenced": "dim", "duplicate": "dim"}


def list_automations(*, json: AsJson = False) -> None:
    """List automations: what each waits for, and what it does then."""
    with store() as opened:
        rows, now = opened.list_automations(), opened.now()
    if json:
        show_json([automation_shape(row) for row in rows])
        return
    if not rows:
        print("There is no automation yet. Put one beside your flows: alarm = Automation(when=RunFailed(), then=…)")
        return
    made = table("automation", "when", "then", "project", "", whole=("automation",))
    for row in rows:
        shape = automation_shape(row)
        then = ", ".join(_named(action) for action in shape["spec"].get("then", ()))
        made.add_row(row.name, shape["when"], then, row.project, _state(row, now))
    show_on(made)


def show(name: Name, /, *, json: AsJson = False) -> None:
    """Show an automation, and what it came to last."""
    with store() as opened:
        row, now = _get(opened, name), opened.now()
        firings = opened.list_firings(name, limit=5)
    shape = automation_shape(row)
    if json:
        show_json({**shape, "firings": [firing_shape(firing) for firing in firings]})
        return
    made = table("", " ", whole=("",))
    made.show_header = False
    spec = shape["spec"]
    for label, value in (
        ("automation", row.name),
        ("about", row.description),
        ("when", shape["when"]),
        *(("then", _line(action)) for action in spec.get("then", ())),
        *((word, ", ".join(spec.get(word, ()))) for word in ("flow", "tags", "owner")),
        ("once per", seconds_text(spec["once_per"]) if "once_per" in spec else ""),
        ("silence", jsons.dumps(spec["silence"]) if "silence" in spec else ""),
        ("state", _state(row, now).plain or "active"),
        ("declared by", f"project {row.project}" if row.project else "hand"),
        ("looks at the time", when(row.next_at, now)),
    ):
        if value:
            made.add_row(Text(label, "dim"), value)
    show_on(made, *(["", _firings(firings, now)] if firings else []))


def play_through(
    name: Name, /, *, event: ByEvent = None, run: ByRun = None, send: Send = False, json: AsJson = False
) -> None:
    """Play events through an automation: what would fire, and what would be done. Nothing is, without --send."""
    if (event is None) == (run is None):
        raise UsageError("""Say what to play: --run ID, or --event '{"kind": "orders.landed", "key": "7"}'.""")
    settings = load_settings()
    with store() as opened:
        row = _get(opened, name)
        automation = from_spec(row.spec, name=row.name)
        now = opened.now()
        events = (
            events_of_run(opened, find_run(opened, run).id)
            if run is not None
            else [event_of(each, now) for text in event or () for each in _read(text)]
        )
        played = play(row, automation, opened, events)
        sent = (
            _send(opened, ResultStore(settings.results_url, token=settings.token), automation, played) if send else []
        )
    if json:
        show_json({name: getattr(played, name) for name in played.__struct_fields__} | {"sent": sent})
    else:
        _tell(played, sent)
    if any(each["error"] for each in sent):
        raise UsageError("Not all of it could be done.")


def _read(text: str) -> list[Any]:
    try:
        is_json = text.lstrip().startswith(("{", "["))
        found = jsons.loads(text if is_json else Path(text).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"--event {text[:60]!r} is neither JSON nor a file with JSON: {error}.") from None
    return found if isinstance(found, list) else [found]


def _send(opened: Store, results: ResultStore, automation: Automation, played: Played) -> list[dict[str, Any]]:
    """Carry out the steps of what fired, those that escalate left out."""
    delivery, sent = Delivery(opened, results), []
    for verdict in played.verdicts:
        if verdict["state"] != "pending":
            continue
        firing = f"test-{new_id(opened.now())}"
        for index, step in enumerate(steps_of(automation.actions)):
            if step.escalates:
                continue
            order = Order(
                firing=firing,
                automation=played.automation,
                index=index,
                attempt=1,
                action=step.action,
                values={**verdict["values"], "firing": firing},
                at=opened.now(),
            )
            outcome: dict[str, Any] = {"action": type(step.action).__name__, "note": None, "error": None}
            try:
                outcome["note"] = delivery.carry_out(order)
            except OstinatoError as error:
                outcome["error"] = str(error)
            sent.append(outcome)
    return sent


def _tell(played: Played, sent: list[dict[str, Any]]) -> None:
    print(f"{played.automation} waits for: {played.when}.")
    print(f"{played.events} event(s) played, {played.concerned} of them concern it.")
    if not played.verdicts:
        later = f" Time alone would make it fire at {played.next_at}." if played.next_at else ""
        print(f"It does not fire.{later}")
    for verdict in played.verdicts:
        print(f"It fires, about {verdict['key']}, at {verdict['at']}: {_WOULD[verdict['state']]}")
        for step in verdict["steps"] if verdict["state"] == "pending" else ():
            late = f"after {seconds_text(step['after'])}, unless acknowledged: " if step["escalates"] else ""
            print(f"  {late}{_line(step)}")
    for outcome in sent:
        print(f"{outcome['action']}: {outcome['error'] or outcome['note']}")
    if played.verdicts and not sent:
        print("Nothing was done. Add --send to do it.")


_WOULD = {
    "pending": "it would do this.",
    "silenced": "it would do nothing, being silenced.",
    "duplicate": "it would do nothing, for it has just fired about the same.",
}


def pause(name: Name, /, *, json: AsJson = False) -> None:
    """Have an automation see nothing until it is resumed."""
    _pause(name, paused=True, as_json=json)


def resume(name: Name, /, *, json: AsJson = False) -> None:
    """Let a paused automation see what happens from now on."""
    _pause(name, paused=False, as_json=json)


def _pause(name: str, *, paused: bool, as_json: bool) -> None:
    with store() as opened:
        before = _get(opened, name)
        row = opened.pause_automation(name, paused=paused, silenced_until=before.silenced_until)
        audit(opened, None, f"automation_{'paused' if paused else 'resumed'}", name)
    if as_json:
        show_json(automation_shape(row))
    else:
        print(f"{name} {'is paused: it sees nothing' if paused else 'sees what happens from now on'}.")


def silence(name: Name, /, *, for_: For, json: AsJson = False) -> None:
    """Have an automation do nothing for a while; what it would have done is on record."""
    with store() as opened:
        row = silence_until(opened, _get(opened, name), 0.0 if for_ == "0" else seconds_of(for_, "--for"))
        audit(opened, None, "automation_silenced", name, more={"for": for_})
        now = opened.now()
    if json:
        show_json(automation_shape(row))
    elif row.silenced_until is None:
        print(f"{name} is not silenced any more.")
    else:
        print(f"{name} does nothing until {when(row.silenced_until, now)}.")


def list_firings(name: OfAutomation = None, /, *, limit: Last = 20, json: AsJson = False) -> None:
    """List what automations came to, newest first, and what became of it."""
    with store() as opened:
        if name is not None:
            _get(opened, name)
        found, now = opened.list_firings(name, limit=limit), opened.now()
    if json:
        show_json([firing_shape(firing) for firing in found])
    elif found:
        show_on(_firings(found, now))
    else:
        print("Nothing has fired yet.")


def acknowledge(firing: FiringId, /, *, json: AsJson = False) -> None:
    """Say that you look after it: it is not escalated."""
    with store() as opened:
        found = opened.acknowledge(firing, LOCAL)
        audit(opened, None, "firing_acknowledged", firing)
    if json:
        show_json(firing_shape(found))
    else:
        print(f"Firing {firing} of {found.automation} is acknowledged by {found.acknowledged_by}.")


def add(name: Name, file: SpecFile, /, *, about: About = "", json: AsJson = False) -> None:
    """Add an automation by hand, or change one that was."""
    try:
        data = jsons.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read as JSON: {error}.") from None
    with store() as opened:
        row = opened.put_automation(row_of(from_spec(data, name=name, description=about)))
        audit(opened, None, "automation_changed", name)
    if json:
        show_json(automation_shape(row))
    else:
        print(f"Automation {name} is there. Try it: ostinato automations test {name} --run latest")


def remove(name: Name, /, *, json: AsJson = False) -> None:
    """Remove an automation that was added by hand; its firings stay."""
    with store() as opened:
        opened.remove_automation(name)
        audit(opened, None, "automation_removed", name)
    if json:
        show_json({"automation": name})
    else:
        print(f"Automation {name} is removed.")


def _get(opened: Store, name: str) -> AutomationRow:
    rows = {row.name: row for row in opened.list_automations()}
    if name not in rows:
        raise UnknownNameError(
            f"There is no automation {name!r}.{nearest(name, rows)} See `ostinato automations list`."
        )
    return rows[name]


def _state(row: AutomationRow, now: int) -> Text:
    if row.paused:
        return Text("paused", "yellow")
    if row.trouble:
        return Text(f"trouble: {row.trouble}", "bold red")
    if row.silenced_until is not None and row.silenced_until > now:
        return Text(f"silenced until {when(row.silenced_until, now)}", "dim")
    return Text("")


def _firings(firings: list[Any], now: int) -> Any:
    made = table("firing", "at", "automation", "about", "state", "what became of it", whole=("firing", "at"))
    for firing in firings:
        shape = firing_shape(firing)
        state = Text(firing.state, _STYLES[firing.state])
        if firing.acknowledged_by:
            state.append(f" (acknowledged by {firing.acknowledged_by})", "dim")
        said = "; ".join(
            f"{step['action']['type']}: {step['note'] or step['error'] or step['state']}" for step in shape["steps"]
        )
        made.add_row(firing.id, when(firing.at, now), firing.automation, firing.key, state, said)
    return made


def _named(action: dict[str, Any]) -> str:
    to = action.get("to") or action.get("url") or action.get("flow") or action.get("kind") or ""
    return f"{action['type']} {', '.join(to) if isinstance(to, list) else to}".strip()


def _line(action: dict[str, Any]) -> str:
    head = _named(action)
    rest = {
        name: value
        for name, value in action.items()
        if name not in ("type", "to", "url", "flow", "kind", "after", "escalates", "then")
    }
    later = f" after {seconds_text(action['after'])}" if action["type"] == "Escalate" else ""
    then = f": {', '.join(_line(each) for each in action['then'])}" if action.get("then") else ""
    return f"{head}{later}{then}{f' {jsons.dumps(rest, ensure_ascii=False)}' if rest else ''}"
