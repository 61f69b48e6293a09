"""``ostinato doctor``: whether this installation can do its work, each answer with what to do about it."""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.text import Text

from ostinato.cli.answer import Answer, Status
from ostinato.cli.fleet import check_projects, check_queue, check_server, check_workers
from ostinato.cli.options import AsJson  # noqa: TC001  # cyclopts reads annotations when it runs
from ostinato.cli.screen import seconds_text, show, show_json, size_text, table
from ostinato.clock import SECOND
from ostinato.errors import OstinatoError
from ostinato.io.blobs import safe_url
from ostinato.io.results import ResultStore
from ostinato.runtime.finding import store_of
from ostinato.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ostinato.store.store import Store

_STYLES: Final = {"ok": "green", "warning": "yellow", "error": "bold red"}
_RESET_FIXED: Final = (3, 51, 3)
_LOW, _VERY_LOW = 1_000_000_000, 100_000_000
_SLOW, _TOO_QUICK = 0.02, 0.000_01
_SYNCS: Final = 20


def doctor(*, json: AsJson = False) -> int:
    """Check that this installation can do its work; each line says what to do where it cannot."""
    answers = list(examine())
    if json:
        show_json([asdict(answer) for answer in answers])
    else:
        made = table("", "", "", whole=("",))
        made.show_header = False
        for answer in answers:
            found = Text(answer.found)
            if answer.advice:
                found.append(f"\n{answer.advice}", "dim")
            made.add_row(Text(answer.status, _STYLES[answer.status]), answer.check, found)
        show(made)
    return 1 if any(answer.status == "error" for answer in answers) else 0


def examine() -> Iterator[Answer]:
    """Look at everything in turn."""
    yield _python()
    yield _sqlite()
    try:
        settings = load_settings()
    except OstinatoError as error:
        yield Answer("settings", "error", str(error), "Correct it; `ostinato config show` lists every setting.")
        return
    yield from _guarded("home", lambda: _home(settings))
    yield from _guarded("disk", lambda: _disk(settings))
    server = check_server(settings)
    yield server
    if server.status == "error":  # whatever else could be asked would be asked of it
        return
    yield from _guarded("results", lambda: _results(settings))
    try:
        with store_of(settings) as store:
            for look in _LOOKS:
                name = look.__name__.strip("_").removeprefix("check_")
                yield from _guarded(name, lambda look=look: look(store, settings))  # type: ignore[misc]
    except OstinatoError as error:
        yield Answer("database", "error", str(error))


def _guarded(name: str, look: Callable[[], Answer]) -> Iterator[Answer]:
    try:
        yield look()
    except (OstinatoError, OSError) as error:
        yield Answer(name, "error", str(error))


def _python() -> Answer:
    version = ".".join(map(str, sys.version_info[:3]))
    return Answer("python", "ok", f"{version} at {sys.executable}")


def _sqlite() -> Answer:
    if sqlite3.sqlite_version_info >= _RESET_FIXED:
        return Answer("sqlite", "ok", sqlite3.sqlite_version)
    note = "has the WAL-reset defect; Ostinato's file lock keeps it from happening"
    return Answer(
        "sqlite", "ok", f"{sqlite3.sqlite_version}, which {note}",
        "Do not open the database for writing with other programs while runs are under way.",
    )  # fmt: skip


def _home(settings: Settings) -> Answer:
    home = settings.home_path
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home) as file:
            file.write(b"ostinato")
    except OSError as error:
        advice = "Set OSTINATO_HOME to a folder that can be written."
        return Answer("home", "error", f"{home} cannot be written: {error.strerror or error}", advice)
    return Answer("home", "ok", f"{home} can be written")


def _disk(settings: Settings) -> Answer:
    place = settings.home_path
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    status: Status = "error" if free < _VERY_LOW else "warning" if free < _LOW else "ok"
    advice = "" if status == "ok" else "Make room, or forget old runs by `ostinato db prune`."
    return Answer("disk", status, f"{size_text(free)} free for {settings.home_path}", advice)


def _results(settings: Settings) -> Answer:
    results = ResultStore(settings.results_url, grace=0, token=settings.token)
    data = b"ostinato doctor " + secrets.token_bytes(16)
    began = time.perf_counter()
    digest = results.put(data)
    if results.get(digest) != data:
        return Answer("results", "error", f"{safe_url(settings.results_url)} gives back other bytes than were written")
    took = time.perf_counter() - began
    results.delete([digest])
    return Answer("results", "ok", f"{safe_url(settings.results_url)} written and read in {seconds_text(took)}")


def _database(store: Store, settings: Settings) -> Answer:
    info = store.info()
    where = f"{info.dialect} {info.version}, {info.location}, revision {info.revision}, {size_text(info.size)}"
    if info.revision != info.head:
        return Answer("database", "error", where, f"Run `ostinato db upgrade` to reach revision {info.head}.")
    if info.dialect != "sqlite" and not settings.api and settings.durability != info.durability:
        return Answer("database", "warning", f"{where}, {info.durability} instead of {settings.durability}")
    return Answer("database", "ok", where)


def _durability(store: Store, settings: Settings) -> Answer:
    if settings.api:
        return Answer("durability", "ok", "as the server keeps it")
    if store.info().dialect != "sqlite":
        return Answer("durability", "ok", f"{settings.durability}, as the database server syncs")
    times = []
    place = Path(store.info().location).parent
    with tempfile.TemporaryFile(dir=place) as file:
        for _ in range(_SYNCS):
            file.write(b"x" * 4096)
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    median = statistics.median(times)
    text = f"{settings.durability}; an fsync takes {median * 1000:.2f} ms (median of {_SYNCS})"
    if settings.durability != "durable":
        advice = "A loss of power may lose acknowledged results; set OSTINATO_DURABILITY=durable to keep them."
        return Answer("durability", "warning", text, advice)
    if median < _TOO_QUICK:
        advice = f"So little that {place} may be in memory only, where a loss of power loses everything."
        return Answer("durability", "warning", text, advice)
    if median > _SLOW:
        return Answer("durability", "warning", text, f"Every task waits for one: move {place} to a quicker disk.")
    return Answer("durability", "ok", text)


def _clock(store: Store, settings: Settings) -> Answer:
    before = time.time()
    theirs = store.now() / SECOND
    apart = theirs - (before + time.time()) / 2
    if abs(apart) < settings.lease / 4:
        return Answer("clock", "ok", f"agrees with the store's to {seconds_text(max(0.001, abs(apart)))}")
    text = f"{seconds_text(abs(apart))} {'behind' if apart > 0 else 'ahead of'} the store's"
    advice = "Leases go by the store's clock, so they hold; but set this machine's, which gives task runs their times."
    return Answer("clock", "warning", text, advice)


_LOOKS: Final = (_database, _durability, _clock, check_workers, check_queue, check_projects)
