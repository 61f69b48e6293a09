"""Workers that end, die, or come back late; and what becomes of the runs they held."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from tests.process import until
from tests.worker.conftest import marked_of

from ostinato.errors import StoreUnavailableError
from ostinato.states import State

if TYPE_CHECKING:
    import pytest
    from tests.worker.conftest import Bench

    from ostinato.store.store import Store
    from ostinato.work import Claim


def test_a_draining_worker_lets_its_runs_end_and_takes_no_new_one(bench: Bench) -> None:
    process = bench.work_apart(slots=2)
    run_id = bench.queue("holds", label="a")
    bench.begun("a")
    process.send_signal(signal.SIGTERM)
    until(lambda: any(worker.draining for worker in bench.store.list_workers()), "it to drain")
    left = bench.queue("adds")
    (bench.folder / "ledger.a").touch()
    assert bench.ended(run_id).state is State.SUCCEEDED
    assert process.wait(15) == 0
    assert bench.run(left).state is State.QUEUED
    assert bench.store.list_workers() == []


def test_a_worker_that_waits_long_enough_gives_its_runs_back_as_drained(any_bench: Bench) -> None:
    process = any_bench.work_apart(slots=1, grace=0.2)
    run_id = any_bench.queue("goes_on")
    any_bench.begun("go waits")
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0
    run = any_bench.run(run_id)
    assert (run.state, run.recoveries) == (State.QUEUED, 0)
    (any_bench.folder / "ledger.go").touch()
    any_bench.work()
    assert any_bench.value(any_bench.ended(run_id)) == 2
    assert any_bench.lines().count("first") == 1


def test_a_second_signal_ends_a_worker_at_once(bench: Bench) -> None:
    process = bench.work_apart(slots=1, grace=100)
    run_id = bench.queue("holds")
    bench.begun("holds")
    process.send_signal(signal.SIGTERM)
    until(lambda: any(worker.draining for worker in bench.store.list_workers()), "it to drain")
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0
    assert bench.run(run_id).state is State.QUEUED


def test_the_processes_of_a_killed_worker_end_and_its_runs_go_on(any_bench: Bench) -> None:
    process = any_bench.work_apart(slots=1)
    run_id = any_bench.queue("goes_on")
    any_bench.begun("go waits")
    process.kill()
    process.wait(10)
    until(lambda: not marked_of(any_bench.folder), "its run process to end by itself", 3)
    (worker,) = any_bench.store.list_workers()
    any_bench.store.sweep([worker.id])
    (any_bench.folder / "ledger.go").touch()
    any_bench.work()
    run = any_bench.ended(run_id)
    assert any_bench.value(run) == 2
    assert any_bench.lines().count("first") == 1, "what was finished stays"
    assert "run.recovering" in any_bench.kinds(run_id)


def test_a_worker_stopped_past_its_lease_comes_back_as_another(any_bench: Bench) -> None:
    any_bench.lease(1.0)
    process = any_bench.work_apart(slots=1)
    run_id = any_bench.queue("goes_on")
    any_bench.begun("go waits")
    process.send_signal(signal.SIGSTOP)
    until(lambda: not run_processes(any_bench, process.pid), "its run process to end for the silence", 5)
    until(any_bench.store.sweep, "its lease to end")
    (any_bench.folder / "ledger.go").touch()
    any_bench.work(slots=1)
    run = any_bench.ended(run_id)
    assert any_bench.value(run) == 2
    stands = any_bench.kinds(run_id)
    process.send_signal(signal.SIGCONT)
    until(lambda: len([w for w in any_bench.store.list_workers() if w.kind == "worker"]) == 2, "it to register again")
    assert any_bench.kinds(run_id) == stands
    assert any_bench.lines().count("after") == 1
    assert "runs no longer" in any_bench.logs()


def test_a_run_process_alone_past_its_workers_lease_cannot_write(bench: Bench) -> None:
    """The worker is stopped; its process, which is told by nobody, goes on until it is refused."""
    bench.lease(1.0)
    worker = bench.work(slots=1)
    run_id = bench.queue("goes_on")
    bench.begun("go waits")
    bench.store.sweep([worker.worker_id])
    (bench.folder / "ledger.go").touch()
    run = bench.ended(run_id)
    assert bench.value(run) == 2
    assert (run.epoch, bench.lines().count("first")) == (3, 1)


def run_processes(bench: Bench, worker: int) -> list[int]:
    return [pid for pid in marked_of(bench.folder) if pid != worker and Path(f"/proc/{pid}").exists()]


def test_a_worker_that_loses_its_lease_registers_again_and_goes_on(bench: Bench) -> None:
    bench.lease(1.0)
    worker = bench.work(slots=1)
    before = worker.worker_id
    bench.store.leave(before)
    until(lambda: worker.worker_id not in {"", before}, "it to register again")
    assert bench.value(bench.ended(bench.queue("adds"))) == 2


def test_runs_left_by_a_worker_are_found_unharmed_after_its_restart(bench: Bench) -> None:
    runs = [bench.queue("adds", x=i) for i in range(20)]
    process = bench.work_apart(slots=2)
    bench.begun("adds 0")
    process.kill()
    process.wait(10)
    bench.store.sweep([worker.id for worker in bench.store.list_workers()])
    bench.work(slots=2)
    assert [bench.value(bench.ended(run_id)) for run_id in runs] == list(range(1, 21))


class Clumsy:
    """A store that fails at what the test names, so many times, in turn as stores do and as nobody foresaw."""

    def __init__(self, store: Store, **fails: int) -> None:
        self.store, self.fails = store, fails

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.store, name)
        if self.fails.get(name, 0) <= 0:
            return found

        def fail(*_: Any, **__: Any) -> None:
            self.fails[name] -= 1
            raise StoreUnavailableError("not now") if self.fails[name] % 2 else AttributeError("what nobody foresaw")

        return fail

    def claim(self, *args: Any, **kwargs: Any) -> list[Claim]:
        claims: list[Claim] = self.store.claim(*args, **kwargs)
        if not claims or self.fails.get("options", 0) <= 0:
            return claims
        self.fails["options"] -= 1
        return [msgspec.structs.replace(claim, options="{") for claim in claims]


def test_a_run_is_given_back_however_often_the_store_fails_at_that(bench: Bench) -> None:
    store = Clumsy(bench.store, give_back=3)
    worker = bench.work(slots=1, store=store)
    run_id = bench.queue("goes_on")
    bench.begun("go waits")
    os.kill(worker.launcher.process_ids[0], signal.SIGKILL)
    assert bench.value(bench.ended(bench.queue("adds", x=1))) == 2, "its slot is free meanwhile"
    (bench.folder / "ledger.go").touch()
    assert bench.value(bench.ended(run_id)) == 2
    assert (store.fails["give_back"], bench.lines().count("go waits")) == (0, 2)


def test_a_claim_that_makes_no_sense_is_given_back_and_the_worker_goes_on(bench: Bench) -> None:
    store = Clumsy(bench.store, options=1)
    bench.work(slots=1, store=store)
    run = bench.ended(bench.queue("adds", x=1))
    assert (bench.value(run), store.fails["options"]) == (2, 0)
    assert bench.kinds(run.id).count("run.recovering") == 1


def test_a_worker_ends_although_a_run_cannot_be_given_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ostinato.runtime.worker._LAST", 0.1)
    worker = bench.work(slots=1, grace=0.1, store=Clumsy(bench.store, give_back=1000))
    run_id = bench.queue("holds")
    bench.begun("holds")
    worker.stop()
    until(lambda: not bench.store.list_workers(), "it to leave")
    bench.store.sweep()
    assert bench.run(run_id).state is State.QUEUED


def test_a_process_whose_words_make_no_sense_is_ended_and_its_run_goes_on(bench: Bench) -> None:
    bench.work(slots=1)
    run_id = bench.queue("babbles")
    assert bench.value(bench.ended(run_id)) == 2
    assert bench.lines().count("babbles") == 1
