"""``ostinato db upgrade | info | prune``."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter

from ostinato.cli.options import AsJson, store
from ostinato.cli.screen import show, show_json, size_text, table
from ostinato.cli.spans import seconds_of
from ostinato.clock import SECOND, to_rfc3339
from ostinato.io.blobs import safe_url
from ostinato.io.results import ResultStore
from ostinato.records import Pruned
from ostinato.runtime.finding import store_of
from ostinato.runtime.process import sweep
from ostinato.runtime.retention import add, archive_of, cuts_of, steps
from ostinato.settings import load_settings
from ostinato.store import migrate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from ostinato.history import Held, Kept

Age = Annotated[str | None, Parameter(name="--older-than", help="Their age: 30d, 12h, 45min. By default the setting.")]
Interrupted = Annotated[
    bool, Parameter(name="--interrupted", negative=(), help="Interrupted runs too, which could still go on.")
]
Finish = Annotated[
    bool,
    Parameter(name="--finish", negative=(), help="The last steps too: no process of the version before runs now."),
]
Class = Annotated[
    tuple[str, ...],
    Parameter(
        name="--class", negative=(), help="Only this: runs, looks, logs, events, ticks or firings. Several times."
    ),
]
DryRun = Annotated[bool, Parameter(name="--dry-run", negative=(), help="Only show what would go.")]
_DAY = 86_400


def upgrade(*, finish: Finish = False, json: AsJson = False) -> None:
    """Bring the database to this version's schema; make its tables where there are none.

    It only adds to what is there, so servers and workers of the version before go on working. Afterwards, when none
    of them runs any more, `--finish` takes away what only they needed.
    """
    url = load_settings().database_url
    before, after = migrate.upgrade(url, finish=finish)
    if json:
        show_json({"location": safe_url(url), "before": before, "after": after})
    elif before == after:
        print(f"{safe_url(url)} has revision {after} already.")
    else:
        print(f"{safe_url(url)} was at {before or 'nothing'} and is now at revision {after}.")


def info(*, json: AsJson = False) -> None:
    """Show what the database is, how much is in it, and what the next pruning will remove."""
    with store() as opened:
        found, kept = opened.info(), opened.list_kept(cuts_of(load_settings(), opened.now()))
    if json:
        show_json(msgspec.structs.asdict(found) | {"kept": [_as_json(each) for each in kept]})
        return
    made = table("", "", whole=("",))
    made.show_header = False
    for name, value in (
        ("location", found.location),
        ("dialect", f"{found.dialect} {found.version}"),
        ("revision", found.revision if found.revision == found.head else f"{found.revision}, behind {found.head}"),
        ("durability", found.durability),
        ("size", size_text(found.size)),
        *((name, f"{count:,}") for name, count in found.counts.items()),
    ):
        made.add_row(name.replace("_", " "), str(value))
    show(made, "", _overview(kept))


def prune(
    *,
    older_than: Age = None,
    only: Class = (),
    interrupted: Interrupted = False,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Forget what is old, each class at its age; what can still be reached, resumed or read by somebody is kept."""
    settings = load_settings()
    days = None if older_than is None else seconds_of(older_than, "--older-than", unit="d") / _DAY
    with store_of(settings) as opened:
        sweep(opened)
        cuts = cuts_of(settings, opened.now(), days=days, only=only, interrupted=interrupted)
        if dry_run:
            kept = [each for each in opened.list_kept(cuts) if not only or each.name in only]
            show_json([_as_json(each) for each in kept]) if json else show(_overview(kept))
            return
        results = ResultStore(settings.results_url, token=settings.token)
        pruned = functools.reduce(add, steps(opened, results, cuts, archive_of(settings)), Pruned())
    if json:
        show_json(msgspec.structs.asdict(pruned) | {"blobs": len(pruned.blobs)})
    else:
        print(f"Forgot {_told(pruned)}.")


def _told(pruned: Pruned) -> str:
    """Say what went; of what is rare, only what there was."""
    always = [_many(pruned.runs, "run"), _many(pruned.cache_entries, "cached result")]
    rare = {"event": pruned.events, "batch of log lines": pruned.logs, "tick": pruned.ticks, "firing": pruned.firings}
    some = [_many(count, noun) for noun, count in rare.items() if count]
    whole = [f"the whole of {', '.join(pruned.partitions)}"] if pruned.partitions else []
    *first, last = [*always, *some, *whole, _many(len(pruned.blobs), "stored file")]
    return f"{', '.join(first)} and {last}"


def _overview(kept: Sequence[Kept]) -> Table:
    """Show each class: how much, how old, what goes next and what keeps the rest."""
    sized = any(each.size is not None for each in kept)
    titles = ("class", "rows", *(("size",) if sized else ()), "oldest", "kept for", "to go", "held by")
    made = table(*titles, right=("rows", "size", "oldest", "kept for", "to go"), whole=titles[:-1])
    now = time.time() * SECOND
    for each in kept:
        made.add_row(
            each.name,
            f"{each.rows:,}",
            *(("" if each.size is None else size_text(each.size),) if sized else ()),
            _days(each.oldest_at, now),
            "" if each.name == "cache" else _days(each.before, now),
            f"{each.going:,}",
            ", ".join(_holder(held) for held in each.held),
        )
    return made


def _days(instant: int | None, now: float) -> str:
    return "" if instant is None else f"{max(0.0, (now - instant) / SECOND / _DAY):.1f} d"


def _holder(held: Held) -> str:
    return f"{held.by} ({held.count:,} unread)" if held.count else held.by


def _as_json(kept: Kept) -> dict[str, Any]:
    instants = {"oldest_at": to_rfc3339(kept.oldest_at), "before": to_rfc3339(kept.before)}
    return msgspec.to_builtins(kept) | instants  # type: ignore[no-any-return]


def _many(count: int, noun: str) -> str:
    head, of, tail = noun.partition(" of ")
    plural = "" if count == 1 else "es" if head.endswith("ch") else "s"
    return f"{count:,} {head}{plural}{of}{tail}"
