"""``ostinato db upgrade | info | prune``."""

from __future__ import annotations

from typing import Annotated

import msgspec
from cyclopts import Parameter

from ostinato.cli.options import AsJson, store
from ostinato.cli.screen import show, show_json, size_text, table
from ostinato.cli.spans import seconds_of
from ostinato.io.blobs import safe_url
from ostinato.io.results import ResultStore
from ostinato.runtime.finding import store_of
from ostinato.runtime.process import sweep
from ostinato.runtime.retention import prune as forget
from ostinato.settings import load_settings
from ostinato.store import migrate

Age = Annotated[str | None, Parameter(name="--older-than", help="Their age: 30d, 12h, 45min. By default the setting.")]
Interrupted = Annotated[
    bool, Parameter(name="--interrupted", negative=(), help="Interrupted runs too, which could still go on.")
]
Finish = Annotated[
    bool,
    Parameter(name="--finish", negative=(), help="The last steps too: no process of the version before runs now."),
]
_DAY = 86_400
_AT_ONCE = 1000


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
    """Show what the database is, and how much is in it."""
    with store() as opened:
        found = opened.info()
    if json:
        show_json(msgspec.structs.asdict(found))
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
    show(made)


def prune(*, older_than: Age = None, interrupted: Interrupted = False, json: AsJson = False) -> None:
    """Forget runs that ended long ago, with all that hangs on them; what can still be reached is kept."""
    settings = load_settings()
    days = settings.retention_days if older_than is None else seconds_of(older_than, "--older-than", unit="d") / _DAY
    results = ResultStore(settings.results_url, token=settings.token)
    runs = entries = blobs = 0
    with store_of(settings) as opened:
        sweep(opened)
        while True:
            pruned = forget(opened, results, days, interrupted=interrupted, limit=_AT_ONCE)
            runs, entries, blobs = runs + pruned.runs, entries + pruned.cache_entries, blobs + len(pruned.blobs)
            if not pruned.runs:
                break
    if json:
        show_json({"runs": runs, "cache_entries": entries, "blobs": blobs})
    else:
        print(f"Forgot {_many(runs, 'run')}, {_many(entries, 'cached result')} and {_many(blobs, 'stored file')}.")


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
