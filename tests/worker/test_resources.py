"""What runs need of a machine: packed by it, held to it, tried again with more of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.process import until

from ostinato.launchers.cgroup import find_cgroups
from ostinato.states import State
from ostinato.work import Deployed, Project

if TYPE_CHECKING:
    from tests.worker.conftest import Bench

MIB = 1 << 20


def test_runs_are_packed_by_what_is_free(bench: Bench) -> None:
    worker = bench.work(slots=4, resources={"licence": 2.0})
    big = bench.queue("holds", label="big", resources={"licence": 2.0})
    bench.begun("big")
    waiting = bench.queue("holds", label="waiting", resources={"licence": 1.0})
    assert bench.value(bench.ended(bench.queue("adds"))) == 2, "what takes no licence goes on"
    assert bench.run(waiting).state is State.QUEUED
    assert worker.capacity.offer(["default"]).resources["licence"] == 0
    (bench.folder / "ledger.big").touch()
    bench.ended(big)
    bench.begun("waiting")
    (bench.folder / "ledger.waiting").touch()
    bench.ended(waiting)
    until(lambda: worker.capacity.offer(["default"]).resources["licence"] == 2, "both licences to be free")


def test_what_a_worker_does_not_have_stays_in_the_queue(bench: Bench) -> None:
    bench.work(slots=1)
    missing = bench.queue("adds", x=7, resources={"telescope": 1.0})
    assert bench.value(bench.ended(bench.queue("adds"))) == 2
    assert bench.run(missing).state is State.QUEUED


def test_a_run_over_its_memory_is_ended_and_says_so(any_bench: Bench) -> None:
    any_bench.work(slots=1)
    run_id = any_bench.queue("takes_memory", size=300 * MIB, resources={"memory": 200.0 * MIB})
    run = any_bench.ended(run_id)
    assert (run.state, run.reason) == (State.FAILED, "out_of_memory")
    assert "may take 200 MiB" in (run.error or "")
    failed = next(e.event for e in any_bench.store.list_events(run_id) if e.event.kind == "run.failed")
    assert msgspec.json.decode(failed.data)["peak_memory"] > 200 * MIB
    assert any_bench.value(any_bench.ended(any_bench.queue("adds"))) == 2


def test_a_run_out_of_memory_is_tried_again_with_more_where_its_deployment_says_so(any_bench: Bench) -> None:
    options = msgspec.json.encode({"retry_on_oom": {"times": 2, "memory": 2.0}}).decode()
    any_bench.store.put_project(
        Project(name="p", root=str(any_bench.project), host="h"),
        [Deployed(name="hungry", flow="takes_memory", project="p", target="x", options=options)],
    )
    any_bench.work(slots=1)
    run_id = any_bench.queue("takes_memory", size=300 * MIB, resources={"memory": 250.0 * MIB}, deployment="hungry")
    run = any_bench.ended(run_id)
    assert any_bench.value(run) == 300 * MIB
    assert run.attempt == 2
    assert msgspec.json.decode(run.resources or "{}")["memory"] == 500 * MIB


def test_a_run_within_its_memory_is_left_alone(bench: Bench) -> None:
    bench.work(slots=1)
    run_id = bench.queue("takes_memory", size=50 * MIB, resources={"memory": 400.0 * MIB})
    assert bench.value(bench.ended(run_id)) == 50 * MIB


def test_a_control_group_kills_all_that_is_in_it() -> None:
    import subprocess

    groups = find_cgroups()
    group = groups.make("test") if groups is not None else None
    if group is None:
        pytest.skip("no control group of version 2 can be made here")
    sleeper = subprocess.Popen(["sleep", "1000"])
    try:
        assert group.add(sleeper.pid)
        assert group.kill()
        assert sleeper.wait(5) == -9
    finally:
        sleeper.kill()
        sleeper.wait()
        until(lambda: (group.remove(), not group.path.exists())[1], "the group to be gone", 5)


def test_a_worker_may_limit_the_memory_of_runs_that_say_nothing_of_it(bench: Bench) -> None:
    bench.work(slots=1, memory_per_run=200 * MIB)
    told = bench.queue("takes_memory", size=300 * MIB, resources={"memory": 1000.0 * MIB})
    untold = bench.queue("takes_memory", size=300 * MIB, resources={"cpu": 0.1})
    run = bench.ended(untold)
    assert (run.state, run.reason) == (State.FAILED, "out_of_memory")
    assert "may take 200 MiB" in (run.error or "")
    assert bench.ended(told).state is State.SUCCEEDED
