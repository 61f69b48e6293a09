"""Runs that a worker takes from the queue: in warm processes, one after the other, in the right order."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import msgspec
from tests.process import until

from ostinato.states import State
from ostinato.work import Queue

if TYPE_CHECKING:
    from tests.worker.conftest import Bench


def test_a_queued_run_is_carried_out(any_bench: Bench) -> None:
    run_id = any_bench.queue("adds", x=41)
    any_bench.work()
    run = any_bench.ended(run_id)
    assert any_bench.value(run) == 42
    assert (run.epoch, run.attempt, run.recoveries) == (1, 1, 0)
    assert "run.claimed" in any_bench.kinds(run_id)


def test_an_async_flow_is_carried_out(bench: Bench) -> None:
    run_id = bench.queue("waits_a_little", x=5)
    bench.work()
    assert bench.value(bench.ended(run_id)) == 5


def test_a_flow_that_raises_has_failed_and_the_worker_goes_on(bench: Bench) -> None:
    failing, good = bench.queue("fails"), bench.queue("adds")
    bench.work(slots=1)
    run = bench.ended(failing)
    assert run.state is State.FAILED
    assert "on purpose" in (run.error or "")
    assert bench.value(bench.ended(good)) == 2


def test_parameters_that_the_flow_refuses_fail_the_run_with_the_message(bench: Bench) -> None:
    run_id = bench.queue("adds", x="many")
    bench.work()
    run = bench.ended(run_id)
    assert (run.state, run.reason) == (State.FAILED, "parameters")
    assert "x" in (run.error or "")
    assert "run.failed" in bench.kinds(run_id)


def test_a_process_serves_one_run_after_the_other(bench: Bench) -> None:
    runs = [bench.queue("tells_process") for _ in range(5)]
    bench.work(slots=1)
    found = [bench.value(bench.ended(run_id)) for run_id in runs]
    assert len({pid for pid, _ in found}) == 1
    assert [served for _, served in found] == [1, 2, 3, 4, 5]
    assert found[0][0] != os.getpid()


def test_a_cold_worker_gives_each_run_a_process_of_its_own(bench: Bench) -> None:
    runs = [bench.queue("tells_process") for _ in range(3)]
    bench.work(slots=1, cold=True)
    found = [bench.value(bench.ended(run_id)) for run_id in runs]
    assert len({pid for pid, _ in found}) == 3
    assert [served for _, served in found] == [1, 1, 1]


def test_a_process_is_replaced_after_so_many_runs(bench: Bench) -> None:
    runs = [bench.queue("tells_process") for _ in range(5)]
    bench.work(slots=1, runs_each=2)
    assert [bench.value(bench.ended(run_id))[1] for run_id in runs] == [1, 2, 1, 2, 1]


def test_what_a_run_changes_of_its_process_the_next_one_does_not_see(bench: Bench) -> None:
    changing, seeing = bench.queue("changes_the_process"), bench.queue("sees_the_process")
    bench.work(slots=1)
    pid = bench.value(bench.ended(changing))
    assert bench.value(bench.ended(seeing)) == [pid, str(bench.project), None, False, False, False, False]


def test_changed_files_are_imported_anew(bench: Bench) -> None:
    bench.work(slots=1)
    assert bench.value(bench.ended(bench.queue("adds", x=1))) == 2
    bench.file.write_text(bench.file.read_text().replace("return x + y", "return x + 10 * y"))
    assert bench.value(bench.ended(bench.queue("adds", x=1))) == 11


def test_reload_replaces_idle_processes_and_lets_busy_ones_finish(bench: Bench) -> None:
    worker = bench.work(slots=2, warm=1)
    bench.ended(bench.queue("adds"))
    holding = bench.queue("holds", label="old")
    bench.begun("old")
    before = set(worker.launcher.process_ids)
    worker.reload()
    until(lambda: len(before & set(worker.launcher.process_ids)) == 1, "only the busy one to be left")
    assert bench.value(bench.ended(bench.queue("tells_process")))[0] not in before
    (bench.folder / "ledger.old").touch()
    assert bench.value(bench.ended(holding)) == "old", "it was let finish"
    until(lambda: not before & set(worker.launcher.process_ids), "it to be gone too")


def test_a_run_whose_module_cannot_be_imported_fails_with_the_traceback(bench: Bench) -> None:
    (bench.project / "broken.py").write_text("from ostinato import flow\nraise RuntimeError('not today')\n")
    file, bench.file = bench.file, bench.project / "broken.py"
    broken = bench.queue("anything")
    bench.file = file
    good = bench.queue("adds")
    bench.work(slots=1)
    run = bench.ended(broken)
    assert (run.state, run.reason) == (State.FAILED, "unloadable")
    assert "not today" in (run.error or "")
    assert bench.value(bench.ended(good)) == 2


def test_a_run_whose_flow_is_gone_fails_with_the_nearest_name(bench: Bench) -> None:
    run_id = bench.queue("add5")
    bench.work()
    run = bench.ended(run_id)
    assert (run.state, run.reason) == (State.FAILED, "unloadable")
    assert "adds" in (run.error or "")


def test_what_runs_print_is_in_their_log(bench: Bench) -> None:
    one, other = bench.queue("prints", n=2), bench.queue("prints", n=3)
    bench.work(slots=1)
    bench.ended(one)
    bench.ended(other)
    assert bench.printed(one) == ["line 0", "line 1"]
    assert bench.printed(other) == ["line 0", "line 1", "line 2"]


def test_runs_are_taken_by_priority_then_in_order(bench: Bench) -> None:
    bench.store.put_queue(Queue(pool="default", name="urgent", priority=10))
    runs = [bench.queue("adds", x=i) for i in range(4)]
    bench.work(slots=1)
    for run_id in runs:
        bench.ended(run_id)
    assert bench.lines() == [f"adds {i}" for i in range(4)]


def test_two_workers_share_the_queue_and_no_run_is_carried_out_twice(any_bench: Bench) -> None:
    any_bench.work(slots=2)
    any_bench.work(slots=2)
    runs = [any_bench.queue("adds", x=i) for i in range(40)]
    holders = {any_bench.ended(run_id).id for run_id in runs}
    assert len(holders) == 40
    assert sorted(any_bench.lines()) == sorted(f"adds {i}" for i in range(40))


def test_a_free_slot_is_offered_while_others_are_held(bench: Bench) -> None:
    bench.work(slots=2)
    holding = bench.queue("holds", label="long")
    bench.begun("long")
    for i in range(10):
        assert bench.value(bench.ended(bench.queue("adds", x=i))) == i + 1
    (bench.folder / "ledger.long").touch()
    bench.ended(holding)


def test_many_quick_runs_are_all_carried_out(bench: Bench) -> None:
    bench.work(slots=4)
    bench.ended(bench.queue("adds"))
    began = time.monotonic()
    runs = [bench.queue("adds", x=i) for i in range(200)]
    for run_id in runs:
        bench.ended(run_id)
    assert time.monotonic() - began < 30


def test_the_worker_is_registered_with_what_it_serves(bench: Bench) -> None:
    worker = bench.work(pools=["default", "gpu"], slots=3, resources={"licence": 2.0})
    found = next(one for one in bench.store.list_workers() if one.id == worker.worker_id)
    assert (found.kind, found.pools, found.slots, found.roots) == (
        "worker",
        ["default", "gpu"],
        3,
        [str(bench.project)],
    )
    held = msgspec.json.decode(found.resources)
    assert held["licence"] == 2.0
    assert held["cpu"] >= 1
    assert held["memory"] > 1 << 20


def test_a_task_that_is_sent_to_another_pool_is_carried_out_there(any_bench: Bench) -> None:
    run_id = any_bench.queue("sends")
    any_bench.work(pools=["default"])
    any_bench.work(pools=["gpu"])
    (x, more, named, there), here = any_bench.value(any_bench.ended(run_id))
    assert (x, more, named) == (1, [2, 3], {"y": 4})
    assert there != here
    assert any_bench.lines() == ["far 1"]


def test_async_and_failing_tasks_are_sent_too(bench: Bench) -> None:
    bench.work(pools=["default", "gpu"])
    assert bench.value(bench.ended(bench.queue("sends_async"))) == 2
    assert bench.value(bench.ended(bench.queue("sends_failing"))) == "far away"
