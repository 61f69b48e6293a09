"""An attempt passes its limits, in the caller's thread or on a loop; the third way is `Job`'s, by callbacks.

A run that no worker carries out passes those of its flow here too, in its own process, before its body begins.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

from ostinato.errors import OstinatoError
from ostinato.executors.stopping import shield
from ostinato.future import wake_on
from ostinato.limits import from_json
from ostinato.outcomes import Cancel, Skip
from ostinato.runtime.slots import Entry
from ostinato.runtime.standstill import rests
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from ostinato.engine.lifecycle import Enter
    from ostinato.runtime.call import Call
    from ostinato.runtime.runner import Runner

_SHOWN = 3


def enter_here(runner: Runner, call: Call, command: Enter) -> None:
    """Pass limits, waiting in this thread."""
    slots, event, gone = runner.session.slots, threading.Event(), list[BaseException | None]()

    def go(error: BaseException | None) -> None:
        gone.append(error)
        event.set()

    entry = call.entry = Entry(runner, call.row, command.limits, go)
    with shield():
        if slots.enter(entry, here=True):
            return
    try:
        while not gone:
            event.clear()  # a signal to this thread sets it too
            if not gone:
                runner.rest(event)
            runner.refuse_when_stopping()
    except BaseException as signal:
        with shield():
            slots.let_go(entry, signal)
            call.entry = None
        raise
    if gone[0] is not None:
        call.entry = None
        raise gone[0]


@rests
async def enter_async(runner: Runner, call: Call, command: Enter) -> None:
    """Pass limits, waiting on this loop."""
    slots, gone = runner.session.slots, list[BaseException | None]()
    register: list[Callable[[Any], None]] = []
    woken = wake_on(register.append)

    def go(error: BaseException | None) -> None:
        gone.append(error)
        register[0](None)

    entry = call.entry = Entry(runner, call.row, command.limits, go)
    slots.enter(entry)
    try:
        await woken
        runner.refuse_when_stopping()
    except BaseException as signal:
        slots.let_go(entry, runner.translate(signal))
        call.entry = None
        raise
    if gone[0] is not None:
        call.entry = None
        raise gone[0]


def enter_run_here(runner: Runner) -> Skip | Cancel | None:
    """Pass the limits of a run of this process, waiting in this thread; what it comes to if it is not let in."""
    event = threading.Event()
    entry = _entry_of_run(runner, lambda _: event.set())
    if entry is None:
        return None
    with shield():
        is_through = runner.session.slots.enter(entry, here=True)
    if not is_through:
        _announce(runner)
    try:
        while not is_through and entry.is_waiting:
            runner.wait(event, None)
            runner.refuse_when_stopping()
    except BaseException as signal:
        with shield():
            runner.session.slots.let_go(entry, signal)
        raise
    return _outcome(entry)


async def enter_run_async(runner: Runner) -> Skip | Cancel | None:
    """Do so on this loop."""
    register: list[Callable[[Any], None]] = []
    woken = wake_on(register.append)
    entry = _entry_of_run(runner, lambda _: register[0](None))
    if entry is None:
        woken.cancel()
        return None
    if not runner.session.slots.enter(entry, here=True):
        _announce(runner)
        try:
            await woken
            runner.refuse_when_stopping()
        except BaseException as signal:
            runner.session.slots.let_go(entry, runner.translate(signal))
            raise
    else:
        woken.cancel()
    return _outcome(entry)


def _entry_of_run(runner: Runner, go: Callable[[BaseException | None], None]) -> Entry | None:
    run = runner.run
    if run.gates is None or run.pool is not None:
        return None
    return Entry(runner, None, from_json(run.gates), go)


def _announce(runner: Runner) -> None:
    """Say what a run waits for before its first line."""
    store, run = runner.session.store, runner.run
    with contextlib.suppress(OstinatoError):  # a token may not look at limits
        waits = next((each for each in store.list_passages(run_id=run.id) if not each.held), None)
        if waits is None:
            return
        line = store.list_passages(waits.gate)
        held = [each.run_id for each in line if each.held]
        before = [each.run_id for each in line if not each.held].index(run.id)
        shown = f", held by {', '.join(held[:_SHOWN])}" if held else ""
        runner.session.announce(
            f"Run {run.id} waits for a slot of {waits.gate}{shown}" + (f"; {before} before it." if before else ".")
        )


def _outcome(entry: Entry) -> Skip | Cancel | None:
    if entry.failure is not None:
        raise entry.failure
    if entry.refused is None:
        return None
    why = "another run of it is under way"
    return Skip(why) if entry.refused == State.SKIPPED else Cancel(why)
