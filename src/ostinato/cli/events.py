"""``ostinato events tail | emit``."""

from __future__ import annotations

import json as jsons
import time
from collections import deque
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from cyclopts import Parameter
from rich.text import Text

from ostinato.cli.options import AsJson, store
from ostinato.cli.screen import console, show_json
from ostinato.clock import to_datetime, to_rfc3339
from ostinato.errors import UsageError
from ostinato.runtime.emitting import emit_to
from ostinato.runtime.finding import find_run
from ostinato.waiting import check_emitted, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ostinato.records import StoredEvent
    from ostinato.store.store import Store

Follow = Annotated[bool, Parameter(name=["--follow", "-f"], negative=(), help="Go on, until Ctrl-C.")]
OfRun = Annotated[str | None, Parameter(name="--run", help="Only those of this run.")]
Kind = Annotated[
    str | None, Parameter(name="--kind", help="Only of this kind, or those that begin so: run.failed, audit.")
]
Last = Annotated[int, Parameter(name=["--limit", "-n"], help="How many of the past; 20 by default.")]

NewKind = Annotated[str, Parameter(name="KIND", help="What has happened: orders.landed.")]
Key = Annotated[str, Parameter(name="--key", help="What it is about, for those who wait for just that.")]
Data = Annotated[str, Parameter(name="--data", help="JSON that comes with it.")]

_PAGE: Final = 1000
_LOOK_AGAIN: Final = 0.5
_FAR: Final = 1 << 62


def tail(
    *, follow: Follow = False, run: OfRun = None, kind: Kind = None, limit: Last = 20, json: AsJson = False
) -> None:
    """Show the last events of all runs, or of one, and those to come.

    With --json each line is one JSON object.
    """
    if limit < 0:
        raise UsageError(f"--limit is 0 or more, not {limit}.")
    with store() as opened:
        run_id = None if run is None else find_run(opened, run).id
        after = _last_id(opened, run_id)
        for found in _past(opened, run_id, kind, limit, after):
            _tell(found, as_json=json)
        while follow:
            for found in opened.list_events(run_id, after=after, limit=_PAGE):
                after = found.id
                if _fits(found, kind):
                    _tell(found, as_json=json)
            time.sleep(_LOOK_AGAIN)


def emit(kind: NewKind, /, *, key: Key = "", data: Data = "null", json: AsJson = False) -> None:
    """Tell that something has happened: whoever waits for it goes on."""
    check_emitted(kind, key)
    with store() as opened:
        event = emit_to(opened, kind, key, to_json(_parsed(data)))
    if json:
        show_json({"kind": kind, "key": key, "at": to_rfc3339(event.at)})
    else:
        print(f"Event {kind}{f' with the key {key}' if key else ''} is stored.")


def _parsed(data: str) -> Any:
    try:
        return jsons.loads(data)
    except ValueError as error:
        raise UsageError(f"--data is no JSON: {error}. For example: --data '{{\"rows\": 7}}'.") from None


def _past(opened: Store, run_id: str | None, kind: str | None, limit: int, last: int) -> deque[StoredEvent]:
    """Return the last events up to a number, oldest first."""
    width, after = max(limit, 1), last
    found: deque[StoredEvent] = deque(maxlen=limit)
    while limit and after > 0 and len(found) < limit:  # further back, until there are enough of the kind
        after, width = max(0, last - width), width * 4
        found = deque(_all(opened, run_id, kind, after, last), maxlen=limit)
    return found


def _all(opened: Store, run_id: str | None, kind: str | None, after: int, last: int) -> Iterator[StoredEvent]:
    while page := opened.list_events(run_id, after=after, limit=_PAGE):
        after = page[-1].id
        yield from (found for found in page if found.id <= last and _fits(found, kind))
        if after >= last:
            return


def _last_id(opened: Store, run_id: str | None) -> int:
    """Find the number of the last event by halving, since events are read forwards only."""
    low, high = 0, 1
    while high < _FAR and opened.list_events(run_id, after=high, limit=1):
        low, high = high, high * 4
    while low < high:
        middle = (low + high) // 2
        if opened.list_events(run_id, after=middle, limit=1):
            low = middle + 1
        else:
            high = middle
    return low


def _fits(found: StoredEvent, kind: str | None) -> bool:
    return kind is None or found.event.kind == kind or found.event.kind.startswith(f"{kind.rstrip('.')}.")


def _tell(found: StoredEvent, *, as_json: bool) -> None:
    event = found.event
    data: Any = msgspec.json.decode(event.data)
    if as_json:
        at = to_rfc3339(event.at)
        shape = {
            "id": found.id,
            "at": at,
            "kind": event.kind,
            "run_id": event.run_id or None,
            "seq": event.seq,
            "key": event.key,
            "data": data,
        }
        print(msgspec.json.encode(shape).decode(), flush=True)
        return
    text = Text()
    text.append(f"{to_datetime(event.at).astimezone():%Y-%m-%d %H:%M:%S.%f}"[:-3], "dim")
    text.append(f"  {event.kind:<20}", "bold")
    text.append(f"  {event.run_id or '-':<16}", "cyan")
    if event.seq is not None:
        text.append(f" #{event.seq}", "cyan")
    if event.key:
        text.append(f"  {event.key}", "magenta")
    for name, value in (data if isinstance(data, dict) else {"data": data}).items():
        if value is not None:
            text.append(f"  {name}=", "dim").append(
                value if isinstance(value, str) else msgspec.json.encode(value).decode()
            )
    console().print(text, soft_wrap=True)
