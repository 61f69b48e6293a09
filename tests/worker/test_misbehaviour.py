"""User code that does what it should not: the run ends with a true reason, and the worker stays well."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.process import until

from ostinato.launchers.tree import children_of
from ostinato.states import State

if TYPE_CHECKING:
    from tests.worker.conftest import Bench


def is_well(bench: Bench) -> None:
    assert bench.value(bench.ended(bench.queue("adds", x=1))) == 2


def messages(bench: Bench, run_id: str) -> str:
    return " ".join(stored.event.data for stored in bench.store.list_events(run_id))


@pytest.mark.parametrize(
    ("flow", "message"),
    [("exits", "ended by itself with exit code 3"), ("crashes", "killed by signal 11 (SIGSEGV)")],
)
def test_a_process_that_ends_itself_makes_a_poisonous_run(any_bench: Bench, flow: str, message: str) -> None:
    run_id = any_bench.queue(flow)
    any_bench.work(slots=1)
    run = any_bench.ended(run_id)
    assert (run.state, run.reason, run.recoveries) == (State.CRASHED, "poisonous", 3)
    assert message in messages(any_bench, run_id)
    assert message in (run.error or "")
    is_well(any_bench)


def test_what_a_run_prints_just_before_it_exits_is_kept(any_bench: Bench) -> None:
    any_bench.work(slots=1)
    run_id = any_bench.queue("prints_and_exits")
    any_bench.ended(run_id)
    assert any_bench.printed(run_id) == ["first", "in the task", "without an end"] * 4


def test_a_killed_run_process_is_named_and_the_run_goes_on(any_bench: Bench) -> None:
    worker = any_bench.work(slots=1)
    run_id = any_bench.queue("goes_on")
    any_bench.begun("go waits")
    for pid in worker.launcher.process_ids:
        os.kill(pid, signal.SIGKILL)
    any_bench.begun("go waits", 2)
    (any_bench.folder / "ledger.go").touch()
    run = any_bench.ended(run_id)
    assert any_bench.value(run) == 2
    assert any_bench.lines().count("first") == 1, "what was finished stays"
    assert "run.recovering" in any_bench.kinds(run_id)
    assert "killed by signal 9 (SIGKILL)" in messages(any_bench, run_id)
    assert "lack of memory" not in messages(any_bench, run_id)


def test_cancelled_code_that_listens_is_cancelled_and_its_process_used_again(bench: Bench) -> None:
    worker = bench.work(slots=1)
    run_id = bench.queue("holds")
    bench.begun("holds")
    pids = worker.launcher.process_ids
    bench.store.request_cancel(run_id)
    run = bench.ended(run_id)
    assert run.state is State.CANCELLED
    is_well(bench)
    assert worker.launcher.process_ids == pids


def test_cancelled_code_that_does_not_listen_is_killed(bench: Bench) -> None:
    bench.work(slots=1)
    run_id = bench.queue("ignores_cancel")
    bench.begun("ignores")
    bench.store.request_cancel(run_id)
    run = bench.ended(run_id)
    assert run.state is State.CANCELLED
    assert "did not stop within 0.5 s and was killed" in messages(bench, run_id)
    is_well(bench)


@pytest.mark.parametrize("flow", ["ignores_sigterm", "closes_everything", "fills_the_disk"])
def test_careless_code_does_not_harm_the_worker(bench: Bench, flow: str) -> None:
    bench.work(slots=1)
    run = bench.ended(bench.queue(flow))
    assert run.state in {State.SUCCEEDED, State.FAILED}
    if flow == "fills_the_disk":
        assert "OSError" in (run.error or "")
    is_well(bench)


@pytest.mark.parametrize("flow", ["leaks_a_thread", "leaks_a_child", "leaks_a_daemon"])
def test_a_process_in_which_something_was_left_is_not_used_again(
    bench: Bench, flow: str, caplog: pytest.LogCaptureFixture
) -> None:
    worker = bench.work(slots=1)
    before = bench.value(bench.ended(bench.queue("tells_process")))[0]
    children = bench.queue(flow)
    assert bench.value(bench.ended(children)) == 1
    after = bench.value(bench.ended(bench.queue("tells_process")))
    assert after[0] != before
    assert after[1] == 1
    assert f"run {children} left behind" in caplog.text
    until(lambda: before not in worker.launcher.process_ids, "it to be gone")
    assert sum(len(children_of(pid)) for pid in worker.launcher.process_ids) == 0


def test_a_copy_made_by_fork_writes_nothing(bench: Bench) -> None:
    bench.work(slots=1)
    run_id = bench.queue("forks")
    run = bench.ended(run_id)
    assert bench.value(run) == 2
    assert bench.kinds(run_id).count("run.succeeded") == 1
    assert len(bench.store.list_task_runs(run_id)) == 1
    is_well(bench)


def test_a_hundred_thousand_lines_are_no_harm(bench: Bench) -> None:
    bench.work(slots=1)
    n = 100_000
    run_id = bench.queue("prints", n=n)
    assert bench.value(bench.ended(run_id, 120)) == n
    is_well(bench)


def test_the_death_of_a_run_process_takes_along_what_it_started(bench: Bench) -> None:
    worker = bench.work(slots=1)
    run_id = bench.queue("child_then_holds")
    bench.begun("holds")
    (pid,) = worker.launcher.process_ids
    child = until(lambda: children_of(pid), "its child")[0]
    os.kill(pid, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{child}").exists(), "the child to be gone")
    bench.begun("holds", 2)
    (bench.folder / "ledger.holds").touch()
    assert bench.ended(run_id).state is State.SUCCEEDED


def test_a_process_that_has_grown_is_not_used_again(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.work(slots=1)
    small = bench.value(bench.ended(bench.queue("grows", size=4096)))
    assert bench.value(bench.ended(bench.queue("grows", size=300 << 20))) == small
    assert bench.value(bench.ended(bench.queue("grows", size=4096))) != small
    assert "it has grown from" in caplog.text


def test_a_module_that_ends_the_process_on_import_harms_only_its_own_runs(bench: Bench) -> None:
    other = bench.folder / "other"
    other.mkdir()
    (other / "deadly.py").write_text("import os\nfrom ostinato import flow\nos._exit(7)\n")
    file, bench.file = bench.file, other / "deadly.py"
    deadly = bench.queue("anything")
    bench.file = file
    bench.work(slots=1)
    run = bench.ended(deadly)
    assert (run.state, run.reason) == (State.CRASHED, "poisonous")
    assert "exit code 7" in (run.error or "")
    is_well(bench)
