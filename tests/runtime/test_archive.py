"""Runs that are forgotten are kept as compressed JSON lines: whole, once, and before they go."""

from __future__ import annotations

import gzip
import itertools
import json
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.store.builders import a_log, a_run, a_task_run, an_attempt, an_event, end

from ostinato.clock import ManualClock
from ostinato.errors import SettingError, StoreError, UnknownRunError
from ostinato.fingerprint import fingerprint
from ostinato.io.results import ResultStore
from ostinato.io.shelf import open_shelf
from ostinato.records import Commit, LogLine, Pruned, Run
from ostinato.runtime.archive import Archive
from ostinato.runtime.retention import add, archive_of, cuts_of, steps
from ostinato.settings import Settings
from ostinato.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY = 86_400


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> Iterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "x.db", clock=clock, durability="crash-safe", lease=1e9)
    yield opened
    opened.close()


@pytest.fixture
def results(tmp_path: Path) -> ResultStore:
    return ResultStore(str(tmp_path / "results"), grace=0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=str(tmp_path), retention_archive=str(tmp_path / "archive"))


def a_whole_run(store: SqliteStore, results: ResultStore, number: int = 0) -> Run:
    """Store a run with something of everything."""
    run = a_run(store, flow=f"flow{number}")
    at = store.now()
    line = LogLine(at, 20, "my.log", 0, 1, "hello")
    small, _ = results.dump({"n": number}, fingerprint({"n": number}))
    large, digest = results.dump("x" * 10_000, fingerprint("x" * 10_000))
    store.commit(
        run.id,
        1,
        Commit(
            task_runs=[a_task_run(run, 0, result=small), a_task_run(run, 1, result=large)],
            attempts=[an_attempt(run)],
            events=[an_event(run, "task_run.failed", seq=0), an_event(run, "paid", key="k", data='{"sum": 1}')],
            logs=[a_log(run, first_at=at, last_at=at, lines=msgspec.json.encode([line]))],
            blobs=[digest] if digest else [],
        ),
    )
    end(store, run)
    return run


def forget(store: SqliteStore, results: ResultStore, settings: Settings, count: int | None = None) -> Pruned:
    total = Pruned()
    cuts = cuts_of(settings, store.now())
    for done in itertools.islice(steps(store, results, cuts, archive_of(settings)), count):
        total = add(total, done)
    return total


def test_run_is_in_the_archive_with_all_that_was_known_of_it(
    store: SqliteStore, results: ResultStore, settings: Settings, clock: ManualClock
) -> None:
    run = a_whole_run(store, results, 7)
    clock.move(40 * DAY)
    assert forget(store, results, settings).runs == 1
    assert store.find_runs(run.id) == []
    (found,) = Archive(settings.retention_archive).runs()
    assert (found["id"], found["flow"], found["state"]) == (run.id, "flow7", "succeeded")
    small, large = found["task_runs"]
    assert small["result"] == {"n": 7}
    assert large["result"] == "<msgpack, plain data, 10.0 kB>"
    assert len(small["earlier_attempts"]) == 1
    assert {"task_run.failed", "paid"} <= {event["kind"] for event in found["events"]}
    assert [event["data"] for event in found["events"] if event["kind"] == "paid"] == [{"sum": 1}]
    assert [(line["message"], line["task"]) for line in found["logs"]] == [("hello", "m.f")]


def test_any_program_reads_it(
    store: SqliteStore, results: ResultStore, settings: Settings, clock: ManualClock, tmp_path: Path
) -> None:
    runs = {a_whole_run(store, results, number).id for number in range(3)}
    clock.move(40 * DAY)
    forget(store, results, settings)
    (path,) = (tmp_path / "archive" / "runs").glob("*/*.jsonl.gz")
    assert path.parent.name == "2023-11-14"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        assert {json.loads(line)["id"] for line in file} == runs


def test_run_that_was_archived_twice_is_read_once(
    store: SqliteStore, results: ResultStore, settings: Settings, clock: ManualClock, tmp_path: Path
) -> None:
    first = a_whole_run(store, results, 1)
    clock.move(20)
    second = a_whole_run(store, results, 2)
    clock.move(40 * DAY)
    archive = archive_of(settings)
    assert archive is not None
    archive.write(store, [first.id])  # the server died before it removed it
    archive.write(store, [first.id])
    assert forget(store, results, settings).runs == 2
    assert len(list((tmp_path / "archive" / "runs").glob("*/*.jsonl.gz"))) == 2
    assert sorted(run["id"] for run in archive.runs()) == sorted([first.id, second.id])


def test_nothing_is_forgotten_while_the_archive_cannot_be_written(
    store: SqliteStore, results: ResultStore, settings: Settings, clock: ManualClock, tmp_path: Path
) -> None:
    run = a_whole_run(store, results)
    clock.move(40 * DAY)
    (tmp_path / "archive").write_text("no folder")
    with pytest.raises(StoreError, match="OSTINATO_RETENTION_ARCHIVE"):
        forget(store, results, settings)
    assert store.get_run(run.id).id == run.id
    (tmp_path / "archive").unlink()
    assert forget(store, results, settings).runs == 1


def test_lines_and_events_stay_until_their_runs_are_in_the_archive(settings: Settings) -> None:
    short = msgspec.structs.replace(settings, retention_logs_days=1, retention_events_days=2)
    cuts = cuts_of(short, 100 * DAY * 1_000_000)
    assert cuts.runs is not None
    assert cuts.logs == cuts.events
    assert cuts.logs is not None
    assert cuts.logs < cuts.runs
    without = cuts_of(msgspec.structs.replace(short, retention_archive=""), 100 * DAY * 1_000_000)
    assert (without.logs, without.events) == (99 * DAY * 1_000_000, 98 * DAY * 1_000_000)


@pytest.mark.parametrize("count", range(9))
def test_forgetting_that_breaks_off_anywhere_loses_nothing(
    store: SqliteStore, results: ResultStore, settings: Settings, clock: ManualClock, count: int
) -> None:
    runs = {a_whole_run(store, results, number).id for number in range(5)}
    clock.move(40 * DAY)
    forget(store, results, settings, count)
    archive = Archive(settings.retention_archive)
    kept = {run_id for run_id in runs if store.find_runs(run_id)}
    assert kept | {run["id"] for run in archive.runs()} == runs
    forget(store, results, settings)
    found = list(archive.runs())
    assert sorted(run["id"] for run in found) == sorted(runs)
    assert all(len(run["task_runs"]) == 2 and run["logs"] for run in found)
    assert {name: store.info().counts[name] for name in ("run", "task_run", "attempt", "log", "blob")} == dict.fromkeys(
        ("run", "task_run", "attempt", "log", "blob"), 0
    )


def test_run_is_found_by_a_part_of_its_id(
    store: SqliteStore, results: ResultStore, settings: Settings, clock: ManualClock
) -> None:
    run = a_whole_run(store, results)
    clock.move(40 * DAY)
    forget(store, results, settings)
    archive = Archive(settings.retention_archive)
    assert archive.find(run.id[-6:])["id"] == run.id
    with pytest.raises(UnknownRunError, match="There is no run 'nothing'"):
        archive.find("nothing")
    assert list(archive.runs(since="2023-11-15")) == []


def test_archive_in_a_bucket_is_the_same(store: SqliteStore, results: ResultStore, clock: ManualClock) -> None:
    pytest.importorskip("obstore")
    run = a_whole_run(store, results)
    clock.move(40 * DAY)
    archive = Archive("memory://")
    assert archive.write(store, [run.id, "gone"]) == [run.id]
    assert [each["id"] for each in archive.runs()] == [run.id]


def test_archive_at_a_server_is_refused() -> None:
    with pytest.raises(SettingError, match="a folder or a bucket"):
        open_shelf("http://host/x")
