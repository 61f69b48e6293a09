"""Runs against a small model: submit, finish, fail, crash, cancel, retry, rerun, fork, mark, prune, zombies, in any order.

The store is real SQLite, the clock is moved by hand, and every process is a `Process`: the engine's own generator of
commands, driven one command at a time, so that two processes may be anywhere in the lives of their task runs when something
happens to them. The model is what a person would say must be true: what was acknowledged, in which epoch.
"""

from __future__ import annotations

import itertools
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ostinato.clock import ManualClock
from ostinato.engine.clearing import downstream, unfinished
from ostinato.engine.identity import call_fingerprint, task_run_id
from ostinato.engine.lifecycle import Execute, Pause, Result, Save, live
from ostinato.engine.memo import Memo, is_replayable, may_keep, succeed_to
from ostinato.engine.rules import Rules
from ostinato.errors import RunStateError, StaleEpochError, UnknownRunError
from ostinato.history import Cuts
from ostinato.ids import new_id
from ostinato.io.results import ResultStore
from ostinato.outcomes import Skip
from ostinato.records import Commit, Event, Run, RunEnd, RunFilter, TaskRun, Worker
from ostinato.retry import Retry
from ostinato.runtime.retention import steps
from ostinato.states import State, allowed
from ostinato.store.sqlite import SqliteStore

LEASE = 8.0
WENT: Counter[str] = Counter()
"""How often the interesting things happened: a model that never gets there proves nothing."""
NAMES = ("a", "b", "c", "d")  # task `b` takes the result of `a`, and so on: a chain
replace = msgspec.structs.replace


def closure(state: State) -> set[State]:
    """All that may come of a state within its epoch; a commit may hold several moves."""
    found, left = {state}, [state]
    while left:
        before = left.pop()
        for after in State:
            if after not in found and allowed(before, after):
                found.add(after)
                left.append(after)
    return found


def is_legal(before: State, after: State, *, new_epoch: bool) -> bool:
    """Judge an observed change by the table, and by nothing else."""
    if not new_epoch:
        return after in closure(before)
    opened = {o for seen in closure(before) for o in State if allowed(seen, o, new_epoch=True)}
    return any(after in closure(state) for state in {before} | opened)


class Process:
    """A process that holds a run: one life under way at a time."""

    def __init__(self, machine: Model, run: Run, worker: str) -> None:
        self.store, self.run, self.worker = machine.store, run, worker
        self.memo = Memo(machine.store.load(run.id))
        self.seq = self.memo.next_seq
        self.life: Any = None
        self.command: Any = None
        self.ended = False
        self.called: dict[str, int] = {}

    def call(self, name: str) -> TaskRun | None:
        """Call a task as a body does; None when it was found again."""
        identity = task_run_id(self.run.lineage, "", call_fingerprint(name, []), 0)
        before = self.called.get(chr(ord(name) - 1))
        row = TaskRun(
            run_id=self.run.id, seq=self.seq, id=identity, task=name, key=name, state=State.RUNNING, epoch=self.run.epoch,
            created_at=self.store.now(), upstream=None if before is None else str(before),
        )  # fmt: skip
        found = self.memo.take(identity)
        if found is not None:
            self.called[name] = found.seq
            if is_replayable(found):
                return None
            assert not may_keep(found, upstream_changed=True)
        earlier = None if found is None else succeed_to(row, found)
        if row.seq == self.seq:
            self.seq += 1
        self.called[name] = row.seq
        row = replace(row, started_at=self.store.now())
        self.life = live(row, Rules(retry=Retry(1)), earlier=earlier, old_fp=None if found is None else found.result_fp)
        self.command = next(self.life)
        return row

    def answer(self, answer: Any) -> Any:
        """Go on with the life; its command is None when it has ended."""
        try:
            self.command = self.life.send(answer)
        except StopIteration:
            self.life = self.command = None
        return self.command


class Model(RuleBasedStateMachine):
    """What is true of the runs, as far as anybody was told."""

    processes = Bundle("processes")
    zombies = Bundle("zombies")

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.clock = ManualClock()
        self.store = SqliteStore(
            Path(self.folder.name) / "m.db", durability="crash-safe", clock=self.clock, lease=LEASE
        )
        self.workers = 0
        self.acknowledged: dict[tuple[str, str], tuple[State, bytes | None]] = {}
        """How each task run of each run ended, of those whose commit was answered and that nobody cleared."""
        self.ends: dict[str, tuple[int, State]] = {}
        self.seen: dict[tuple[str, int], tuple[int, int, State]] = {}
        self.runs: dict[str, tuple[int, State]] = {}
        self.attempts: dict[str, int] = {}
        self.forks: dict[str, str] = {}

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.folder.cleanup()

    # --- processes come and go

    def new_worker(self) -> str:
        self.workers += 1
        name = f"w{self.workers}"
        self.store.register(
            Worker(id=name, kind="script", host="h", pid=self.workers, pid_started="", version="0", started_at=self.clock.now(),
                   expires_at=0)
        )  # fmt: skip
        return name

    @rule(target=processes)
    def submit(self) -> Process:
        worker, identity = self.new_worker(), new_id(self.clock.now())
        run = self.store.create(
            Run(id=identity, flow="f", state=State.RUNNING, epoch=1, lineage=identity, worker_id=worker,
                created_at=self.clock.now(), started_at=self.clock.now())
        )  # fmt: skip
        assert run.id == identity
        return Process(self, run, worker)

    @rule(seconds=st.sampled_from([0.1, 1, 3]))
    def time_passes(self, seconds: float) -> None:
        self.clock.move(seconds)

    @rule(process=processes)
    def beat(self, process: Process) -> None:
        worker = next((w for w in self.store.list_workers() if w.id == process.worker), None)
        alive = worker is not None and worker.expires_at > self.clock.now()
        assert self.store.beat(process.worker).alive is alive

    @rule(target=zombies, process=consumes(processes), gone=st.booleans())
    def crash(self, process: Process, gone: bool) -> Process:  # noqa: FBT001
        """A process dies, or is stopped and will come back late."""
        if gone:
            self.store.sweep([process.worker])
        else:
            self.clock.move(LEASE + 1)
        return process

    @rule()
    def sweep(self) -> None:
        for run in self.store.sweep():
            WENT["swept"] += 1
            assert (run.state, run.reason, run.worker_id) == (State.CRASHED, "lost", None)
        assert self.store.sweep() == []

    # --- a body runs

    @rule(process=processes, name=st.sampled_from(NAMES))
    def call(self, process: Process, name: str) -> None:
        if process.ended or process.life is not None or name in process.called:
            return
        row = process.call(name)
        if row is None:
            return
        key = (process.run.id, row.id)
        if self.is_held(process):
            assert key not in self.acknowledged, "what has ended and was not cleared never runs again"

    @rule(
        process=processes,
        name=st.sampled_from(NAMES),
        hows=st.lists(st.sampled_from(["ok", "ok", "fail"]), min_size=3, max_size=7),
    )
    def work(self, process: Process, name: str, hows: list[str]) -> None:
        """Call a task and live some of its life, undisturbed."""
        self.call(process, name)
        for how in hows:
            if process.life is not None and not process.ended:
                self.go_on(process, 1, how)

    @rule(process=processes, value=st.integers(0, 1), how=st.sampled_from(["ok", "fail", "skip", "note"]))
    def go_on(self, process: Process, value: int, how: str) -> None:
        """Carry out the next command of the life."""
        command = process.command
        if isinstance(command, Pause):
            process.answer(None)
        elif isinstance(command, Execute):
            if how == "note":
                self.write(process, Commit(task_runs=[replace(command.row, started_at=self.clock.now())]))
                return
            at = self.clock.now()
            result = Result(started_at=at, finished_at=at)
            if how == "fail":
                result.error, result.stored = ValueError("no"), b"e"
            else:
                result.value = Skip("x") if how == "skip" else value
                result.stored, result.fp = f"m{value}".encode(), bytes([value]) * 16
            process.answer(result)
        elif isinstance(command, Save):
            self.save(process, command)

    def save(self, process: Process, command: Save) -> None:
        if self.write(process, command.entries):
            if command.settled is not None:
                WENT["acknowledged"] += 1
                self.acknowledged[process.run.id, command.row.id] = (command.row.state, command.row.result)
            process.answer(None)
        else:
            process.ended = True
            process.life = process.command = None

    def write(self, process: Process, entries: Commit) -> bool:
        """Commit; whether it was taken must be just whether the process still holds the run."""
        held, before = self.is_held(process), self.contents(process.run.id)
        try:
            self.store.commit(process.run.id, process.run.epoch, entries)
        except StaleEpochError:
            WENT["refused"] += 1
            assert not held
            assert self.contents(process.run.id) == before, "a commit that was refused wrote nothing"
            return False
        assert held, "a stale process never writes"
        return True

    def is_held(self, process: Process) -> bool:
        try:
            run = self.store.get_run(process.run.id)
        except UnknownRunError:
            return False
        worker = next((w for w in self.store.list_workers() if w.id == run.worker_id), None)
        return (
            run.epoch == process.run.epoch
            and run.state.is_live
            and run.worker_id == process.worker
            and worker is not None
            and worker.expires_at > self.clock.now()
        )

    def contents(self, run_id: str) -> Any:
        try:
            return self.store.get_run(run_id), self.store.list_task_runs(run_id), self.store.list_attempts(run_id)
        except UnknownRunError:
            return None

    @rule(zombie=zombies, name=st.sampled_from(NAMES), ends=st.booleans())
    def late(self, zombie: Process, name: str, ends: bool) -> None:  # noqa: FBT001
        """A process that was given up comes back and wants to write."""
        if zombie.life is None and not zombie.ended and name not in zombie.called:
            zombie.call(name)
        entries = Commit(end=RunEnd(state=State.SUCCEEDED, finished_at=1, result=b"z")) if ends else None
        if entries is None and isinstance(zombie.command, Execute):
            row = replace(zombie.command.row, state=State.SUCCEEDED, result=b"zombie")
            entries = Commit(task_runs=[row], events=[Event(at=1, kind="z", run_id=zombie.run.id)])
        if entries is not None:
            assert not self.write(zombie, entries)

    @rule(process=processes, state=st.sampled_from([State.SUCCEEDED, State.FAILED, State.CANCELLED]))
    def finish(self, process: Process, state: State) -> None:
        if process.ended or process.life is not None:
            return
        end = RunEnd(state=state, finished_at=self.clock.now(), result=b"m" if state is State.SUCCEEDED else None)
        if self.write(process, Commit(end=end)):
            self.ends[process.run.id] = (process.run.epoch, state)
        process.ended = True

    # --- what is done from outside

    def known(self) -> list[Run]:
        return [self.store.get_run(run_id) for run_id in self.runs]

    @precondition(lambda self: any(not self.someone_holds(run) for run in self.known()))
    @rule(target=processes, data=st.data(), how=st.sampled_from(["resume", "retry", "rerun"]))
    def take_up_what_is_free(self, data: st.DataObject, how: str) -> Any:
        return self.take_up_one(
            data, data.draw(st.sampled_from([r for r in self.known() if not self.someone_holds(r)])), how
        )

    @precondition(lambda self: self.runs)
    @rule(target=processes, data=st.data(), how=st.sampled_from(["resume", "retry", "rerun"]))
    def take_up(self, data: st.DataObject, how: str) -> Any:
        return self.take_up_one(data, data.draw(st.sampled_from(self.known())), how)

    def take_up_one(self, data: st.DataObject, run: Run, how: str) -> Any:
        rows = self.store.list_task_runs(run.id)
        again = unfinished(rows) if how == "retry" else []
        clear = [data.draw(st.sampled_from(rows)).seq] if how == "rerun" and rows else []
        stale = downstream(rows, clear)
        worker, is_held = self.new_worker(), self.someone_holds(run)
        try:
            taken = self.store.reopen(run.id, worker, again=again, clear=[*clear, *stale], attempt=how != "resume")
        except RunStateError:
            assert is_held
            return multiple()
        assert not is_held, "a run is taken only from nobody"
        WENT[how] += 1
        assert taken.epoch > run.epoch
        self.ends.pop(run.id, None)
        cleared = {row.id for row in rows if row.seq in {*again, *clear, *stale}}
        self.acknowledged = {
            key: value for key, value in self.acknowledged.items() if not (key[0] == run.id and key[1] in cleared)
        }
        return Process(self, taken, worker)

    def someone_holds(self, run: Run) -> bool:
        return any(w.id == run.worker_id and w.expires_at > self.clock.now() for w in self.store.list_workers())

    @precondition(lambda self: self.runs)
    @rule(target=processes, data=st.data())
    def fork(self, data: st.DataObject) -> Process:
        origin = data.draw(st.sampled_from(self.known()))
        rows = list(self.store.load(origin.id))
        cut = data.draw(st.sets(st.sampled_from([row.id for row in rows]))) if rows else set()
        worker, identity = self.new_worker(), new_id(self.clock.now())
        run = self.store.create(
            Run(id=identity, flow="f", state=State.RUNNING, epoch=1, lineage=origin.lineage, branch_of=origin.id,
                branch_cut=sorted(cut), worker_id=worker, created_at=self.clock.now(), started_at=self.clock.now())
        )  # fmt: skip
        self.forks[identity] = origin.id
        WENT["fork reads through"] += len(rows) > len(cut)
        through = {row.id: row for row in self.store.load(identity)}
        assert set(through) == {row.id for row in rows} - cut, "a fork reads through all that was not cut"
        assert all(through[row.id] == row for row in rows if row.id not in cut)
        return Process(self, run, worker)

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.known()))
        is_held = self.someone_holds(run)
        try:
            after = self.store.request_cancel(run.id)
        except RunStateError:
            assert run.state.is_terminal
            return
        assert not run.state.is_terminal
        assert (after.state is State.CANCELLED) is not is_held
        assert (after.epoch > run.epoch) is not is_held

    def free(self) -> list[tuple[str, int]]:
        """The task runs of runs that nobody holds."""
        return [
            (run_id, seq) for run_id, seq in sorted(self.seen) if not self.someone_holds(self.store.get_run(run_id))
        ]

    @precondition(lambda self: self.free())
    @rule(data=st.data(), state=st.sampled_from([State.SUCCEEDED, State.SKIPPED, State.FAILED]))
    def mark_what_is_free(self, data: st.DataObject, state: State) -> None:
        self.mark_one(*data.draw(st.sampled_from(self.free())), state)

    @precondition(lambda self: any(name for name in self.seen))
    @rule(data=st.data(), state=st.sampled_from([State.SUCCEEDED, State.SKIPPED, State.FAILED]))
    def mark(self, data: st.DataObject, state: State) -> None:
        self.mark_one(*data.draw(st.sampled_from(sorted(self.seen))), state)

    def mark_one(self, run_id: str, seq: int, state: State) -> None:
        run = self.store.get_run(run_id)
        is_held = self.someone_holds(run)
        try:
            after = self.store.mark(run_id, seq, state, result=b"mark", result_fp=b"m" * 16)
        except RunStateError:
            assert is_held
            return
        assert not is_held
        WENT["mark"] += 1
        assert after.epoch > run.epoch
        (row,) = (row for row in self.store.list_task_runs(run_id) if row.seq == seq)
        self.acknowledged[run_id, row.id] = (state, b"mark")

    @rule(age=st.sampled_from([0, 5, 20]), interrupted=st.booleans(), count=st.integers(1, 9))
    def prune(self, age: int, interrupted: bool, count: int) -> None:  # noqa: FBT001
        before = {run.id: run for run in self.known()}
        old = self.clock.now() - age * 1_000_000
        cuts = Cuts(runs=old, looks=old, logs=old, events=old, ticks=old, firings=old, interrupted=interrupted)
        for _ in itertools.islice(steps(self.store, ResultStore("memory://"), cuts), count):
            pass  # it may be broken off after any step
        left = set()
        for run_id, run in before.items():
            try:
                self.store.get_run(run_id)
                left.add(run_id)
            except UnknownRunError:
                assert run.state.is_terminal, "only what has ended goes"
                assert interrupted or run.state is not State.CRASHED, "what may still be resumed stays"
        for fork, origin in self.forks.items():
            assert fork not in left or origin in left, "what a kept fork reads through stays"
        for gone in set(before) - left:
            WENT["pruned"] += 1
            self.runs.pop(gone)
            self.ends.pop(gone, None)
            self.forks.pop(gone, None)
        self.acknowledged = {key: value for key, value in self.acknowledged.items() if key[0] in left}
        self.seen = {key: value for key, value in self.seen.items() if key[0] in left}

    # --- what must hold after every step

    @invariant()
    def every_change_is_a_legal_one(self) -> None:
        if not hasattr(self, "store"):
            return
        for run in self.store.list_runs(_EVERY):
            before = self.runs.get(run.id)
            if before is not None and before != (run.epoch, run.state):
                assert run.epoch >= before[0], "the epoch only grows"
                legal = is_legal(before[1], run.state, new_epoch=run.epoch > before[0])
                assert legal, f"run {before} -> {run.state}"
            self.runs[run.id] = (run.epoch, run.state)
            assert (run.worker_id is not None) == run.state.is_live
            for row in self.store.list_task_runs(run.id):
                self.look_at(run, row)

    def look_at(self, run: Run, row: TaskRun) -> None:
        key, now = (run.id, row.seq), (run.epoch, row.epoch, row.state)
        before = self.seen.get(key)
        if before is not None:
            assert now[:2] >= before[:2], "epochs only grow"
            assert is_legal(before[2], row.state, new_epoch=now[:2] > before[:2]), f"task run {before} -> {now}"
        self.seen[key] = now
        assert row.epoch <= run.epoch
        assert run.state.is_live or not row.state.is_live, "nothing runs in a run that does not"

    @invariant()
    def nothing_acknowledged_is_lost_or_changed(self) -> None:
        if not hasattr(self, "store"):
            return
        rows = {(run.id, row.id): row for run in self.known() for row in self.store.list_task_runs(run.id)}
        for key, (state, result) in self.acknowledged.items():
            assert key in rows, "a task run that had ended is gone"
            assert (rows[key].state, rows[key].result) == (state, result)

    @invariant()
    def an_end_stays(self) -> None:
        if not hasattr(self, "store"):
            return
        for run_id, (_, state) in self.ends.items():
            assert self.store.get_run(run_id).state is state

    @invariant()
    def attempts_are_only_added(self) -> None:
        if not hasattr(self, "store"):
            return
        for run_id in self.runs:
            found = self.store.list_attempts(run_id)
            assert len(found) >= self.attempts.get(run_id, 0)
            self.attempts[run_id] = len(found)
            last = {row.seq: row.attempt for row in self.store.list_task_runs(run_id)}
            for attempt in found:
                assert attempt.attempt <= last[attempt.seq]


_EVERY = RunFilter(limit=1000)

_SETTINGS = settings(
    max_examples=200, stateful_step_count=50, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)  # fmt: skip


def test_runs_behave_as_the_model_says_whatever_happens_in_whatever_order() -> None:
    WENT.clear()
    run_state_machine_as_test(Model, settings=_SETTINGS)
    for what in ("acknowledged", "refused", "resume", "retry", "rerun", "swept"):
        assert WENT[what] >= 3, f"the model hardly ever came to: {what} ({dict(WENT)})"
    rare = sum(WENT[what] for what in ("fork reads through", "mark", "pruned"))
    assert rare >= 3, f"the model hardly ever came to what is rare: {dict(WENT)}"


@pytest.mark.soak
def test_the_model_for_long() -> None:
    run_state_machine_as_test(Model, settings=settings(_SETTINGS, max_examples=2000, stateful_step_count=60))
