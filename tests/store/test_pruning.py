"""Retention: what goes, what stays however old it is, and what goes with it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.store.builders import (
    a_deployed,
    a_log,
    a_project,
    a_run,
    a_task_run,
    an_attempt,
    an_event,
    cached,
    contents,
    end,
    ended,
)

from ostinato.records import Commit, Pruned, Run, RunEnd, RunFilter, StateValue
from ostinato.states import State

if TYPE_CHECKING:
    from ostinato.clock import ManualClock
    from ostinato.store.store import Store

NAMES = itertools.count()


def ids(store: Store) -> set[str]:
    return {run.id for run in store.list_runs(RunFilter(limit=10_000))}


def test_prune_removes_what_ended_before_with_all_that_hangs_on_it(store: Store, clock: ManualClock) -> None:
    run, kept = a_run(store), a_run(store)
    for each in (run, kept):
        store.commit(
            each.id,
            1,
            Commit(
                task_runs=[a_task_run(each)],
                attempts=[an_attempt(each)],
                logs=[a_log(each)],
                events=[an_event(each), an_event(each)],
                states=[StateValue(run_id=each.id, task_run_id="t", name="n", value=b"v")],
            ),
        )
        end(store, each)
        clock.move(1)
    before = contents(store, kept)[:-1]
    after = store.get_run(kept.id)
    assert after.finished_at is not None
    assert store.prune(after.finished_at) == Pruned(runs=1, events=2)
    assert ids(store) == {kept.id}
    assert contents(store, kept)[:-1] == before
    counts = store.info().counts
    assert {name: counts[name] for name in ("run", "task_run", "attempt", "log", "event", "state_value")} == {
        "run": 1, "task_run": 1, "attempt": 1, "log": 1, "event": 2, "state_value": 1,
    }  # fmt: skip
    assert store.prune(after.finished_at) == Pruned()


def test_prune_keeps_what_has_not_ended_and_what_was_interrupted(store: Store, clock: ManualClock) -> None:
    queued, held = a_run(store, None), a_run(store)
    crashed = ended(store, State.CRASHED)
    clock.move(3)
    assert store.prune(clock.now()).runs == 0
    assert store.prune(clock.now(), interrupted=True).runs == 1
    assert ids(store) == {queued.id, held.id}
    assert crashed.id not in ids(store)


def test_prune_keeps_what_a_kept_run_reaches(store: Store, clock: ManualClock) -> None:
    origin = ended(store)
    middle = ended(store, branch_of=origin.id)
    fork = a_run(store, branch_of=middle.id)
    child = ended(store, parent_run_id=fork.id, parent_seq=0)
    grandchild = ended(store, parent_run_id=child.id, parent_seq=0)
    gone = ended(store, branch_of=child.id)
    below = ended(store, parent_run_id=origin.id)
    clock.move(1)
    assert store.prune(clock.now()).runs == 1
    assert ids(store) == {run.id for run in (origin, middle, fork, child, grandchild, below)}
    assert gone.id not in ids(store)
    end(store, fork)
    clock.move(1)
    assert store.prune(clock.now()).runs == 6
    assert ids(store) == set()


def test_prune_of_a_parent_does_not_wait_for_a_child_that_is_kept(store: Store, clock: ManualClock) -> None:
    parent = a_run(store)
    child = a_run(store, parent_run_id=parent.id)
    end(store, parent)
    clock.move(1)
    store.prune(clock.now())
    assert ids(store) == {child.id}


def test_prune_goes_through_more_runs_than_its_limit(store: Store, clock: ManualClock) -> None:
    first = a_run(store, None)
    stuck = [ended(store, parent_run_id=first.id) for _ in range(5)]
    chain = ended(store)
    for _ in range(7):
        chain = ended(store, branch_of=chain.id)
    for _ in range(10):
        ended(store)
    clock.move(1)
    assert store.prune(clock.now(), limit=2).runs == 18
    assert ids(store) == {first.id, *(run.id for run in stuck)}


def test_prune_names_blobs_that_nobody_names_any_more(store: Store, clock: ManualClock) -> None:
    one, two = a_run(store), a_run(store)
    finish = RunEnd(state=State.SUCCEEDED, finished_at=clock.now())
    store.commit(one.id, 1, Commit(blobs=["aa", "bb", "cc"], end=finish))
    store.commit(two.id, 1, Commit(blobs=["bb"]))
    clock.move(1)
    assert store.prune(clock.now()).blobs == ["aa", "cc"]
    end(store, two)
    clock.move(1)
    assert store.prune(clock.now()).blobs == ["bb"]
    assert store.info().counts["blob"] == 0


def sources(store: Store, clock: ManualClock, days: float) -> list[str]:
    """Move the clock; forget what is older than 30 days; say which blobs may go."""
    clock.move(days * 86_400)
    return store.prune(clock.now() - 30 * 86_400_000_000).blobs


def deploy(store: Store, bundle: str | None) -> None:
    store.put_project(a_project(bundle=bundle), [a_deployed(bundle=bundle)])


def test_source_that_no_deployment_names_any_more_may_go_after_the_retention(store: Store, clock: ManualClock) -> None:
    deploy(store, "aa")
    assert sources(store, clock, 100) == []
    deploy(store, "bb")
    assert sources(store, clock, 1) == []
    assert sources(store, clock, 29) == []
    assert sources(store, clock, 2) == ["aa"]
    store.remove_project("p")
    assert sources(store, clock, 0) == []
    assert sources(store, clock, 31) == ["bb"]
    assert store.info().counts["blob"] == 0


def test_source_that_is_deployed_again_stays(store: Store, clock: ManualClock) -> None:
    deploy(store, "aa")
    deploy(store, "bb")
    assert sources(store, clock, 1) == []
    deploy(store, "aa")
    assert sources(store, clock, 20) == []
    deploy(store, "cc")
    assert sources(store, clock, 20) == []
    assert sources(store, clock, 20) == ["bb"]
    assert sources(store, clock, 20) == ["aa"]


def test_source_of_a_run_that_is_kept_stays(store: Store, clock: ManualClock) -> None:
    deploy(store, "aa")
    crashed = ended(store, State.CRASHED, bundle="aa")
    deploy(store, "bb")
    assert sources(store, clock, 1) == []
    assert sources(store, clock, 40) == []
    succeeded = ended(store, bundle="aa")
    store.prune(clock.now(), interrupted=True)
    assert not store.find_runs(crashed.id)
    assert sources(store, clock, 2) == []
    assert sources(store, clock, 31) == ["aa"]
    assert not store.find_runs(succeeded.id)


def test_source_that_only_forgotten_runs_have_named_may_go(store: Store, clock: ManualClock) -> None:
    end(store, a_run(store, bundle="aa"))
    assert sources(store, clock, 31) == []
    assert sources(store, clock, 31) == ["aa"]


def test_source_stays_that_a_result_is_the_same_as(store: Store, clock: ManualClock) -> None:
    deploy(store, "aa")
    run = a_run(store)
    store.commit(run.id, 1, Commit(blobs=["aa"], end=RunEnd(state=State.CRASHED, finished_at=clock.now())))
    deploy(store, None)
    assert sources(store, clock, 0) == []
    assert sources(store, clock, 31) == []
    assert store.prune(clock.now(), interrupted=True).blobs == ["aa"]


def test_cache_entry_outlives_its_run_and_holds_its_blob(store: Store, clock: ManualClock) -> None:
    run = a_run(store)
    digest = "ab" * 32
    entry = cached(run, result=b"ref:" + digest.encode(), expires_at=clock.now() + 60_000_000)
    raw = cached(run, "c2", result=b"ref:" + bytes.fromhex("cd" * 32))
    finish = RunEnd(state=State.SUCCEEDED, finished_at=clock.now())
    store.commit(run.id, 1, Commit(cached=[entry, raw], blobs=[digest, "cd" * 32, "ef" * 32], end=finish))
    clock.move(1)
    assert store.prune(clock.now()) == Pruned(runs=1, blobs=["ef" * 32])
    assert store.find_cached("c1") == entry
    clock.move(60)
    assert store.prune(0) == Pruned(cache_entries=1, blobs=[digest])
    assert store.find_cached("c2") == raw


def test_pruned_run_is_unknown_to_a_fork(store: Store, clock: ManualClock) -> None:
    run = ended(store)
    clock.move(1)
    store.prune(clock.now())
    assert store.find_runs(run.id) == []


def kept_by_the_rule(runs: list[Run], before: int) -> set[str]:
    """Say naively what must be kept: go from what may not be removed to all it reaches, until nothing new comes."""
    kept = {
        run.id
        for run in runs
        if run.state in (State.QUEUED, State.CRASHED) or run.finished_at is None or run.finished_at >= before
    }
    while True:
        more = {run.id for run in runs if run.parent_run_id in kept}
        more |= {run.branch_of for run in runs if run.id in kept and run.branch_of}
        if more <= kept:
            return kept
        kept |= more


FOREST = st.lists(
    st.tuples(
        st.sampled_from([State.SUCCEEDED] * 6 + [State.FAILED, State.CRASHED, State.QUEUED]),
        st.integers(0, 3),
        st.none() | st.integers(0, 30),
        st.none() | st.integers(0, 30),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(forest=FOREST, limit=st.integers(1, 8))
def test_prune_keeps_exactly_what_the_rule_says(store: Store, forest: list[Any], limit: int) -> None:
    for run_id in ids(store):
        store.reopen(run_id, None)
        store.request_cancel(run_id)
    store.prune(2**60, limit=1000)
    assert ids(store) == set()
    runs: list[Run] = []
    for state, finished_at, parent, branch in forest:
        run_id = f"r{next(NAMES):06}"
        runs.append(
            ended(
                store,
                state,
                id=run_id,
                finished_at=None if state is State.QUEUED else finished_at,
                parent_run_id=runs[parent % len(runs)].id if runs and parent is not None else None,
                branch_of=runs[branch % len(runs)].id if runs and branch is not None else None,
            )
        )
    wanted = kept_by_the_rule(runs, 2)
    pruned = store.prune(2, limit=limit)
    assert ids(store) == wanted
    assert pruned.runs == len(runs) - len(wanted)
