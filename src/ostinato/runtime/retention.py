"""Forgetting: what is old enough goes, each class at its own age. On by default, a little at a time.

```
settings ─► Cuts ─► steps: (archive) ─ remove ─ leftovers ─ cache ─ bundles ─ logs ─ events ─ ticks ─ firings
                      each some milliseconds; whoever drives them pauses between
```
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

import msgspec

from ostinato.clock import SECOND
from ostinato.errors import OstinatoError, UsageError, nearest
from ostinato.history import Cuts
from ostinato.records import Pruned
from ostinato.runtime.archive import Archive

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ostinato.io.results import ResultStore
    from ostinato.runtime.session import Session
    from ostinato.settings import Settings
    from ostinato.store.store import Store

_DAY: Final = 86_400 * SECOND
_A_LITTLE: Final = 0.05
"""Seconds that a run of a script spends on it."""
_RUNS: Final = 50
"""Runs that go at once."""
_ROWS: Final = 500
CLASSES: Final = {
    "runs": "retention_days",
    "looks": "retention_ticks_days",
    "logs": "retention_logs_days",
    "events": "retention_events_days",
    "ticks": "retention_ticks_days",
    "firings": "retention_events_days",
}
"""What goes at an age of its own, and the setting that says at which."""


def cuts_of(
    settings: Settings,
    now: int,
    *,
    days: float | None = None,
    only: Collection[str] = (),
    interrupted: bool = False,
) -> Cuts:
    """Say before which instants each class may go.

    With an archive, lines and events stay until the runs they belong to have been kept there.

    Args:
        settings: They say at which ages.
        now: The time.
        days: An age for all instead.
        only: The classes that go; all where there is none.
        interrupted: Whether interrupted runs of that age, which could still be resumed, go too.

    Raises:
        UsageError: If there is no such class.
    """
    for name in only:
        if name not in CLASSES:
            raise UsageError(f"There is no class {name!r}; there are {', '.join(CLASSES)}.{nearest(name, CLASSES)}")
    ages = {name: getattr(settings, setting) if days is None else days for name, setting in CLASSES.items()}
    if settings.retention_archive and days is None:
        for name in ("logs", "events"):
            ages[name] = max(ages[name], ages["runs"] + 1)
    cuts = {name: now - round(age * _DAY) for name, age in ages.items() if not only or name in only}
    return Cuts(**cuts, interrupted=interrupted)


def archive_of(settings: Settings) -> Archive | None:
    """Open the archive, where one is set."""
    return Archive(settings.retention_archive) if settings.retention_archive else None


def steps(store: Store, results: ResultStore, cuts: Cuts, archive: Archive | None = None) -> Iterator[Pruned]:
    """Forget all that is too old, step by step; whoever goes no further leaves the rest for another time."""
    store.make_room()
    for page in _pages(store, cuts):
        ids = page if archive is None else archive.write(store, page)
        yield store.remove(ids, cuts)
    for page in _looks(store, cuts):
        yield store.remove(page, cuts)
    for name in ("leftovers", "cache", "bundles", "logs", "events", "ticks", "firings"):
        more = True
        while more:
            done = store.forget(name, cuts, limit=_ROWS)
            if done.blobs:
                results.delete(done.blobs)
            more = done.more
            yield done


def _pages(store: Store, cuts: Cuts) -> Iterator[list[str]]:
    after: str | None = None
    while True:
        page = store.list_old(cuts, after=after, limit=_RUNS)
        yield page.ids
        if page.after is None:
            return
        after = page.after


def _looks(store: Store, cuts: Cuts) -> Iterator[list[str]]:
    before: list[str] = []
    while (page := store.list_old(cuts, looks=True, limit=_RUNS).ids) and page != before:
        yield page
        before = page


def add(one: Pruned, other: Pruned) -> Pruned:
    """Add up what two steps have done."""
    counts = {name: getattr(one, name) + getattr(other, name) for name in Pruned.__struct_fields__ if name != "more"}
    return msgspec.structs.replace(one, **counts)


def prune_a_little(session: Session) -> None:
    """Forget a little on the keeper's thread: so that a database in use stays small though no server looks after it."""
    if not session.settings.api:
        session.ask(lambda: _quietly(session))


def _quietly(session: Session) -> None:
    settings, until = session.settings, time.monotonic() + _A_LITTLE
    try:
        cuts = cuts_of(settings, session.store.now())
        for _ in steps(session.store, session.results, cuts, archive_of(settings)):
            if time.monotonic() > until:
                return
    except OstinatoError as error:
        logging.getLogger("ostinato.internal").warning("What is old could not be forgotten: %s", error)
