"""Many threads, many processes, one database: nothing lost, nothing refused, nobody starved."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from tests.store.builders import a_run, a_task_run, a_worker, an_event, ended

from ostinato.errors import RunStateError, StaleEpochError
from ostinato.records import Commit
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from ostinato.clock import ManualClock
    from ostinato.store.store import Store


def together(*works: Callable[[], None]) -> None:
    """Run functions in threads that start at one moment; raise what one of them raised."""
    gate = threading.Barrier(len(works))
    errors: list[BaseException] = []

    def body(work: Callable[[], None]) -> None:
        gate.wait()
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=body, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_threads_commit_at_once_and_nothing_is_lost(store: Store) -> None:
    runs = [a_run(store) for _ in range(3)]

    def work(number: int) -> Callable[[], None]:
        def commits() -> None:
            for step in range(40):
                run = runs[(number + step) % len(runs)]
                row = a_task_run(run, number * 100 + step)
                store.commit(run.id, 1, Commit(task_runs=[row], events=[an_event(run)]))
                assert row in store.list_task_runs(run.id)

        return commits

    together(*(work(number) for number in range(6)))
    assert sum(len(list(store.load(run.id))) for run in runs) == 240
    assert len(store.list_events()) == 240


def test_only_one_of_many_takes_a_run(store: Store, opener, clock: ManualClock) -> None:
    stores = [store, *(opener(clock=clock) for _ in range(3))]
    run = ended(store, State.CRASHED)
    took: list[int] = []

    def take(number: int) -> Callable[[], None]:
        def work() -> None:
            try:
                stores[number].reopen(run.id, a_worker(stores[number], f"w{number}"))
                took.append(number)
            except RunStateError:
                pass

        return work

    together(*(take(number) for number in range(4)))
    assert len(took) == 1
    after = store.get_run(run.id)
    assert (after.worker_id, after.epoch, after.recoveries) == (f"w{took[0]}", 2, 1)


def test_same_key_from_many_threads_makes_one_run(store: Store) -> None:
    found: list[str] = []
    together(*(lambda: found.append(a_run(store, None, key="k").id) for _ in range(8)))
    assert len(set(found)) == 1
    assert store.info().counts["run"] == 1


def test_sweeps_at_once_mark_a_run_once(store: Store, opener, clock: ManualClock) -> None:
    stores = [store, opener(clock=clock), opener(clock=clock)]
    runs = [a_run(store, f"w{number % 3}") for number in range(9)]
    clock.move(9)
    swept: list[str] = []
    together(*(lambda s=each: swept.extend(run.id for run in s.sweep()) for each in stores))
    assert sorted(swept) == sorted(run.id for run in runs)
    assert {store.get_run(run.id).epoch for run in runs} == {2}
    assert len(store.list_events()) == len(runs)


def test_commits_against_a_sweep_are_either_before_it_or_refused(store: Store, opener, clock: ManualClock) -> None:
    other = opener(clock=clock)
    run = a_run(store)
    written: list[int] = []

    def commits() -> None:
        for seq in range(2000):
            try:
                store.commit(run.id, 1, Commit(task_runs=[a_task_run(run, seq, state=State.RUNNING)]))
            except StaleEpochError:
                return
            written.append(seq)

    together(commits, lambda: (other.sweep(["w1"]), None)[1])
    rows = list(store.load(run.id))
    assert [row.seq for row in rows] == written
    assert {row.state for row in rows} <= {State.CRASHED}


def test_everybody_pruning_at_once_agrees(store: Store, opener, clock: ManualClock) -> None:
    stores = [store, opener(clock=clock), opener(clock=clock)]
    last = None
    for number in range(60):
        run = ended(store, branch_of=last)
        last = run.id if number % 4 else None
    clock.move(1)
    removed: list[int] = []
    together(*(lambda s=each: removed.append(s.prune(clock.now(), limit=5).runs) for each in stores))
    assert sum(removed) == 60
    assert store.info().counts["run"] == 0


PROCESS = """
import sys
from ostinato.records import Commit
from ostinato.store.open import open_store
from tests.store.builders import a_run, a_task_run, a_worker
url, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = open_store(url, durability="crash-safe", lease=600)
run = a_run(store, name)
for seq in range(count):
    store.commit(run.id, 1, Commit(task_runs=[a_task_run(run, seq, result=b"x" * 500)]))
    if seq % 100 == 0:
        store.beat(name); store.list_task_runs(run.id)
store.close()
print(run.id)
"""


def test_processes_share_a_database_and_lose_nothing(opener, url: str) -> None:
    # they also race to make the database, where that is a file
    count = 400
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, url, f"w{number}", str(count)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        for number in range(6)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [error for _, error in outputs] == [""] * len(processes)
    store = opener()
    for output, _ in outputs:
        assert [row.seq for row in store.load(output.strip())] == list(range(count))
