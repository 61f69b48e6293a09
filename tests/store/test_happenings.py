"""Events that users emit, and runs that wait for them without a process: found, taken in order, never missed."""

from __future__ import annotations

import itertools
import random
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.store.builders import claim, end, kinds, new_run, queued

from ostinato.records import Commit, Event, Suspension, Wait
from ostinato.states import State
from ostinato.store import happenings, waits
from ostinato.timing import Sought, event_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.store.conftest import Opener

    from ostinato.clock import ManualClock
    from ostinato.records import Run
    from ostinato.store.store import Store


def emit(store: Store, kind: str = "landed", key: str = "", data: str = "{}", **fields: Any) -> None:
    store.emit([Event(at=store.now(), kind=kind, run_id="", data=data, key=key, **fields)])


def for_events(
    store: Store, run: Run, *wanted: tuple[str, str], after: int = 0, due_at: int | None = None
) -> Suspension:
    waits = [
        Wait(run_id=run.id, n=n, kind="event", key=event_key(*each), after=after, due_at=due_at, created_at=store.now())
        for n, each in enumerate(wanted)
    ]
    return Suspension(state=State.WAITING, reason="event", waits=waits)


def suspend(store: Store, run: Run, suspension: Suspension, **more: Any) -> None:
    store.commit(run.id, run.epoch, Commit(suspend=suspension, **more))


def waiting(store: Store, *wanted: tuple[str, str], **options: Any) -> Run:
    queued(store)
    (run,) = claim(store)
    suspend(store, run, for_events(store, run, *wanted, **options))
    return run


def test_an_event_wakes_who_waits_for_its_kind_and_key_and_nobody_else(store: Store) -> None:
    run, other = waiting(store, ("landed", "a")), waiting(store, ("landed", "b"))
    third = waiting(store, ("left", "a"))
    emit(store, "landed", "a")
    assert [store.get_run(each.id).state for each in (run, other, third)] == [
        State.QUEUED,
        State.WAITING,
        State.WAITING,
    ]
    assert store.list_waits(run.id) == []
    assert kinds(store, run)[-3:] == ["run.suspended", "run.woken", "run.queued"]
    assert [each.id for each in claim(store, slots=9)] == [run.id]


def test_an_event_without_a_key_wakes_nobody_who_waits_for_one_with(store: Store) -> None:
    keyed, plain = waiting(store, ("landed", "a")), waiting(store, ("landed", ""))
    emit(store, "landed", "")
    assert (store.get_run(keyed.id).state, store.get_run(plain.id).state) == (State.WAITING, State.QUEUED)
    store.emit([Event(at=store.now(), kind="landed", run_id="", key=None)])
    assert store.get_run(keyed.id).state is State.WAITING


def test_an_event_that_came_first_is_not_lost(store: Store) -> None:
    queued(store)
    (run,) = claim(store)
    emit(store, "landed", "a")
    suspend(store, run, for_events(store, run, ("landed", "a")))
    assert store.get_run(run.id).state is State.QUEUED


def test_an_event_that_was_taken_already_does_not_count(store: Store) -> None:
    emit(store, "landed", "a")
    first = store.find_event("landed", "a")
    assert first is not None
    run = waiting(store, ("landed", "a"), after=first.id)
    assert store.get_run(run.id).state is State.WAITING
    emit(store, "landed", "a")
    assert store.get_run(run.id).state is State.QUEUED


def test_keys_may_hold_anything(store: Store, kind: str) -> None:
    odd = "a b%_'\"\\ü" + ("" if kind == "http" else "\nlanded\na")  # a server refuses what cannot be printed
    run = waiting(store, ("landed", odd))
    emit(store, "landed", "a")
    assert store.get_run(run.id).state is State.WAITING
    emit(store, "landed", odd)
    assert store.get_run(run.id).state is State.QUEUED


def test_any_of_several_waits_is_enough(store: Store, clock: ManualClock) -> None:
    one = waiting(store, ("a", ""), ("b", ""))
    late = waiting(store, ("c", ""), due_at=clock.now() + 5_000_000)
    emit(store, "b")
    assert store.get_run(one.id).state is State.QUEUED
    assert store.survey().next_due_at == clock.now() + 5_000_000
    clock.move(5)
    assert store.wake() == 1
    assert store.get_run(late.id).state is State.QUEUED


def test_a_run_that_waits_for_runs_and_for_an_event_goes_on_with_either(store: Store) -> None:
    child = queued(store)
    claim(store, "w2")
    for what in ("event", "run"):
        parent = queued(store)
        (held,) = claim(store)
        waits = [
            Wait(run_id=parent.id, n=0, kind="run", key=child.id, created_at=store.now()),
            Wait(run_id=parent.id, n=1, kind="event", key=event_key(f"x{what}", ""), created_at=store.now()),
        ]
        suspend(store, held, Suspension(state=State.WAITING, waits=waits))
        assert store.get_run(parent.id).state is State.WAITING
        if what == "event":
            emit(store, "xevent")
        else:
            end(store, store.get_run(child.id))
        assert store.get_run(parent.id).state is State.QUEUED
        end(store, *claim(store))


def test_a_run_emits_with_its_commit_once(store: Store) -> None:
    run = waiting(store, ("landed", "a"))
    queued(store)
    (emitter,) = claim(store)
    event = Event(at=store.now(), kind="landed", run_id=emitter.id, key="a", data='{"n":1}')
    for _ in range(2):  # the answer to the first was lost
        store.commit(emitter.id, emitter.epoch, Commit(events=[event]), number=1)
    assert store.get_run(run.id).state is State.QUEUED
    found = store.find_event("landed", "a")
    assert found is not None
    assert found.event == event
    assert store.find_event("landed", "a", after=found.id) is None


def test_a_stale_process_emits_nothing(store: Store) -> None:
    run = waiting(store, ("landed", "a"))
    queued(store)
    (emitter,) = claim(store)
    event = Event(at=store.now(), kind="landed", run_id=emitter.id, key="a")
    with pytest.raises(Exception, match="no longer held"):
        store.commit(emitter.id, emitter.epoch + 1, Commit(events=[event]))
    assert store.get_run(run.id).state is State.WAITING
    assert store.find_event("landed", "a") is None


def test_a_run_that_emits_what_it_waits_for_itself_goes_on(store: Store) -> None:
    queued(store)
    (run,) = claim(store)
    event = Event(at=store.now(), kind="landed", run_id=run.id, key="a")
    suspend(store, run, for_events(store, run, ("landed", "a")), events=[event])
    assert store.get_run(run.id).state is State.QUEUED
    assert len(claim(store, slots=9)) == 1


def test_events_of_a_kind_and_key_are_found_one_after_the_other(store: Store) -> None:
    for n in range(3):
        emit(store, "landed", "a", f'{{"n":{n}}}')
        emit(store, "landed", "b")
    seen, after = [], 0
    while (found := store.find_event("landed", "a", after=after)) is not None:
        seen.append(found.event.data)
        after = found.id
    assert seen == ['{"n":0}', '{"n":1}', '{"n":2}']


def test_events_are_found_from_an_instant_on(store: Store, clock: ManualClock) -> None:
    instants = []
    for _ in range(37):
        clock.move(1)
        instants.append(clock.now())
        emit(store, "landed", "a")
        emit(store, "landed", "other")
    numbers = [found.id for found in store.list_events(limit=1000) if found.event.key == "a"]
    assert store.place_before("landed", "a", 0) == 0
    assert store.place_before("landed", "nobody", clock.now()) == 0
    for n, instant in enumerate(instants):
        assert store.place_before("landed", "a", instant) == (numbers[n - 1] if n else 0)
        assert store.place_before("landed", "a", instant + 1) == numbers[n]
        found = store.find_event("landed", "a", since=instant)
        assert found is not None
        assert found.id == numbers[n]
    assert store.find_event("landed", "a", since=clock.now() + 1) is None


def test_events_are_awaited(store: Store, opener: Opener, clock: ManualClock) -> None:
    run = queued(store)
    sought = [Sought("landed", "a"), Sought("landed", "b")]
    assert store.await_events(run.id, sought) == []
    assert store.await_events(run.id, []) == []
    other = opener(clock=clock)
    found: list[Any] = []
    waiter = threading.Thread(target=lambda: found.extend(other.await_events(run.id, sought, wait=30.0)))
    waiter.start()
    emit(store, "landed", "c")
    emit(store, "landed", "b")
    waiter.join(30)
    assert [(each.event.kind, each.event.key) for each in found] == [("landed", "b")]
    emit(store, "landed", "a")
    assert {each.event.key for each in store.await_events(run.id, sought)} == {"a", "b"}


def test_the_newest_event_has_a_number_that_readers_go_on_from(store: Store) -> None:
    assert store.newest_event() == 0
    emit(store)
    (first,) = store.list_events(after=0)
    assert store.newest_event() == first.id
    emit(store)
    assert [found.id for found in store.list_events(after=first.id)] == [store.newest_event()]


def test_thousands_who_wait_for_one_event_are_all_woken(store: Store, clock: ManualClock) -> None:
    runs = [waiting(store, ("landed", "")) for _ in range(7)]
    many = [store.create(new_run(store, pool="default")) for _ in range(510)]
    for run in claim(store, slots=600):
        suspend(store, run, for_events(store, run, ("landed", "")))
    emit(store, "landed")
    while store.wake():
        pass
    assert {store.get_run(run.id).state for run in [*runs, *many]} == {State.QUEUED}


def test_a_wake_up_that_was_missed_is_repaired(store: Store, opener: Opener, not_over_http: None) -> None:
    run = waiting(store, ("landed", "a"))
    # as if the event had been stored by somebody who knew nothing of waits
    from ostinato.store.events import append

    store._write(lambda tx: append(tx, [Event(at=1, kind="landed", run_id="", key="a")]))  # type: ignore[attr-defined]
    assert store.get_run(run.id).state is State.WAITING
    assert store.wake() == 1
    assert store.get_run(run.id).state is State.QUEUED


STEPS = ("suspend", "emit", "other", "wake", "cancel_other")


@pytest.mark.parametrize("order", list(itertools.permutations(STEPS[:4])), ids="-".join)
def test_no_event_is_missed_in_any_order_of_two_stores(
    store: Store, opener: Opener, clock: ManualClock, order: tuple[str, ...]
) -> None:
    other = opener(clock=clock)
    queued(store)
    (run,) = claim(store)
    steps: dict[str, Callable[[], object]] = {
        "suspend": lambda: suspend(store, run, for_events(store, run, ("landed", "a"))),
        "emit": lambda: emit(other, "landed", "a"),
        "other": lambda: emit(other, "landed", "b"),
        "wake": other.wake,
    }
    for name in order:
        steps[name]()
    assert store.get_run(run.id).state is State.QUEUED
    assert len(claim(store, slots=9)) == 1
    assert kinds(store, run).count("run.woken") == 1


def test_no_event_is_missed_when_emitting_and_suspending_happen_at_once(
    store: Store, opener: Opener, clock: ManualClock
) -> None:
    stores = [store, opener(clock=clock), opener(clock=clock)]
    for n in range(15):
        for _ in range(2):
            queued(store)
        run, emitter = claim(store, slots=2)
        event = Event(at=store.now(), kind="landed", run_id=emitter.id, key=f"{n}")
        wanted = (("landed", f"{n}"), ("left", f"{n}"))
        jobs: list[Callable[[], object]] = [
            lambda r=run, w=wanted: suspend(stores[0], r, for_events(stores[0], r, *w)),  # type: ignore[misc]
            lambda e=emitter, v=event: stores[1].commit(e.id, e.epoch, Commit(events=[v])),  # type: ignore[misc]
            lambda k=n: emit(stores[2], "left", f"{k}"),  # type: ignore[misc]
        ]
        random.shuffle(jobs)
        threads = [threading.Thread(target=job) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert store.get_run(run.id).state is State.QUEUED
        for again in claim(store, slots=9):
            end(store, again)
        end(store, emitter)


@pytest.mark.parametrize("first", ["emit", "suspend"])
def test_whoever_comes_while_the_other_has_not_committed_waits_for_him(
    store: Store, opener: Opener, clock: ManualClock, first: str, not_over_http: None
) -> None:
    other: Any = opener(clock=clock)
    queued(store)
    (run,) = claim(store)
    event = Event(at=store.now(), kind="landed", run_id="", key="a")
    inside, go = threading.Event(), threading.Event()

    def emit_slowly() -> None:
        other._write(lambda tx: (happenings.emit(tx, [event]), tx.now(), inside.set(), go.wait(30)))

    def suspend_slowly() -> None:
        suspension = for_events(store, run, ("landed", "a"))

        def work(tx: Any) -> None:
            waits.mark_awaited(tx, suspension)
            waits.suspend(tx, run.id, suspension, tx.now())
            inside.set()
            go.wait(30)

        other._write(work)

    quickly: dict[str, Callable[[], object]] = {
        "emit": lambda: suspend(store, run, for_events(store, run, ("landed", "a"))),
        "suspend": lambda: store.emit([event]),
    }
    slow = threading.Thread(target=emit_slowly if first == "emit" else suspend_slowly)
    slow.start()
    assert inside.wait(30)
    quick = threading.Thread(target=quickly[first])
    quick.start()
    quick.join(0.3)  # it has all the time to go wrong
    assert quick.is_alive()
    go.set()
    slow.join(30)
    quick.join(30)
    assert store.get_run(run.id).state is State.QUEUED
    assert kinds(store, run).count("run.woken") == 1


def test_a_run_that_emits_and_one_that_waits_for_both_do_not_hold_each_other_up(
    store: Store, opener: Opener, clock: ManualClock, kind: str
) -> None:
    if kind != "postgres":
        pytest.skip("elsewhere one writes at a time")
    other: Any = opener(clock=clock)
    for _ in range(2):
        queued(store)
    parent, child = claim(store, slots=2)
    key = event_key("landed", "a")
    both = [
        Wait(run_id=parent.id, n=0, kind="run", key=child.id, created_at=store.now()),
        Wait(run_id=parent.id, n=1, kind="event", key=key, created_at=store.now()),
    ]
    inside, go, free = threading.Event(), threading.Event(), []

    def emit_slowly() -> None:
        """Do as a commit of the child's does that emits: lock the key, and then its own row."""

        def work(tx: Any) -> None:
            happenings.lock(tx, [key])
            tx.rows("SELECT 1")  # what was asked for before travels with this
            inside.set()
            go.wait(30)
            free.append(tx.rows("SELECT id FROM run WHERE id = :id FOR UPDATE SKIP LOCKED", id=child.id))

        other._write(work)

    slow = threading.Thread(target=emit_slowly)
    slow.start()
    assert inside.wait(30)
    quick = threading.Thread(target=suspend, args=(store, parent, Suspension(state=State.WAITING, waits=both)))
    quick.start()
    quick.join(0.3)
    go.set()
    slow.join(30)
    quick.join(30)
    assert free == [[(child.id,)]], "whoever waits for the key holds no run"


def test_numbers_of_a_kind_and_key_grow_in_the_order_of_commits(
    store: Store, opener: Opener, clock: ManualClock
) -> None:
    """A reader who goes on from the last number he has seen of a kind and key misses none that comes later."""
    writers = [opener(clock=clock) for _ in range(4)]
    run = queued(store)
    seen: list[int] = []
    done = threading.Event()

    def write(writer: Store) -> None:
        for n in range(25):
            emit(writer, "landed", "a", f"{n}")

    def read() -> None:
        while True:
            is_last = done.is_set()
            after = seen[-1] if seen else 0
            while found := store.await_events(run.id, [Sought("landed", "a", after)]):
                after = found[0].id
                seen.append(after)
            if is_last:
                return

    threads = [threading.Thread(target=write, args=(writer,)) for writer in writers]
    reader = threading.Thread(target=read)
    for thread in [*threads, reader]:
        thread.start()
    for thread in threads:
        thread.join(60)
    done.set()
    reader.join(60)
    assert len(seen) == len(set(seen)) == 100
