"""How a body reaches what is outside of its run: durable waits, and events that it emits. For `ostinato.waiting`.

```
sleep, wait_for, ask ─► begin: found again? ── yes ─► what came the first time
                                └─ no ─► engine.waiting.abide ──commands──► Wanted.look │ .listen │ .come
```

They are rows of kind ``wait`` beside the task runs, by identity like those; `emit` is one of kind ``value``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ostinato.authoring.spec import spec_of
from ostinato.authoring.task import TaskOptions
from ostinato.context import find_frame
from ostinato.engine.waiting import abide, tell
from ostinato.errors import UsageError
from ostinato.future import find_loop
from ostinato.records import Event
from ostinato.runtime.begin import Asked
from ostinato.runtime.forms import form_of
from ostinato.runtime.taking import Taking
from ostinato.runtime.wanted import Happening, Question, Time
from ostinato.states import State
from ostinato.waiting import Asking, Awaiting, Came, Said, Sleeping, check_emitted

if TYPE_CHECKING:
    from collections.abc import Generator

    from ostinato.context import Frame
    from ostinato.future import Settled
    from ostinato.records import Attempt, TaskRun
    from ostinato.runtime.runner import Runner
    from ostinato.runtime.wanted import Wanted

    Life = Generator[Any, Any, Settled]


def sleep(microseconds: int | None, until: int | None) -> None:
    """Stand for a sleep: its parameters are what it is found again by."""


def wait_for(kind: str, key: str) -> None:
    """Stand for a wait for an event."""


def ask(form: str, to: str | None, title: str, needed: int) -> None:
    """Stand for a question."""


def emit(kind: str, key: str, data: str) -> None:
    """Stand for an event that is emitted."""


_SPECS = {function.__name__: spec_of(function) for function in (sleep, wait_for, ask, emit)}


class Outside:
    """Implements `ostinato.context.Outside` for one pass."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._taking = Taking(runner)
        self.kept: dict[str, Settled] = {}
        """What waits inside of tasks came to in this pass: another attempt of the task finds it again."""

    def wait(self, what: Any) -> Any:
        """Wait durably and return what came; on a loop a coroutine of it."""
        self._runner.refuse_when_stopping()
        name, values, wanted = self._plan(what)
        frame = self._frame()

        def life(row: TaskRun, earlier: Attempt | None) -> Life:
            return self._keeping(abide(row, wanted.reason, earlier), row, frame)

        asked = Asked(name, _SPECS[name], TaskOptions(name=name), kind="wait", life=life, wanted=wanted)
        if find_loop() is not None:
            return self._coming(what, asked, values, frame)
        return self._read(what, self._runner.hand_over(self._runner.live_here(asked, values, (), frame)))

    async def _coming(self, what: Any, asked: Asked, values: tuple[Any, ...], frame: Frame) -> Any:
        settled = await self._runner.live_async(asked, values, frame)
        return self._read(what, self._runner.hand_over(settled))

    def emit(self, kind: str, key: str, data: str) -> None:
        """Emit an event, once however often this body is run."""
        self._runner.refuse_when_stopping()
        self.emit_in(self._frame(), kind, key, data)

    def emit_in(self, frame: Frame, kind: str, key: str, data: str) -> None:
        """Emit an event for a body, which may run in another process."""
        check_emitted(kind, key)
        runner = self._runner

        def life(row: TaskRun, _: Attempt | None) -> Life:
            event = Event(
                at=runner.session.store.now(), kind=kind, run_id=runner.run.id, seq=frame.seq, data=data, key=key
            )
            return self._keeping(tell(row, event, runner.recorder.dump(None)), row, frame)

        asked = Asked("emit", _SPECS["emit"], TaskOptions(name="emit"), kind="value", life=life)
        runner.hand_over(runner.live_here(asked, (kind, key, data), (), frame))

    def _frame(self) -> Frame:
        frame = find_frame()
        assert frame is not None  # it was asked for its runtime
        return frame

    def _plan(self, what: Any) -> tuple[str, tuple[Any, ...], Wanted]:
        """Say what a wait is found again by, and how it is waited for."""
        if isinstance(what, Sleeping):
            return "sleep", (what.microseconds, what.until), Time(self._runner, what)
        if isinstance(what, Awaiting):
            return "wait_for", (what.kind, what.key), Happening(self._runner, what, self._taking)
        if isinstance(what, Asking):
            form = form_of(what.form)
            return "ask", (form.name, what.to, what.title, what.needed), Question(self._runner, what, form)
        message = f"Nothing is known of waiting for {what!r}."
        raise UsageError(message)

    def _keeping(self, life: Life, row: TaskRun, frame: Frame) -> Life:
        settled = yield from life
        if frame.seq is not None and settled.state in {State.SUCCEEDED, State.FAILED}:
            self.kept[row.id] = settled
        return settled

    def _read(self, what: Any, value: Any) -> Any:
        """Make what came of what is on record; a value that somebody set by hand is taken for the data."""
        if isinstance(what, Awaiting):
            if isinstance(value, dict) and "event" in value:
                came = Came(*value["event"])
                self._taking.replayed(came.id)
                return came
            return _by_hand(what, value, self._runner.clock.now())
        if isinstance(what, Asking):
            form = form_of(what.form)
            if isinstance(value, dict) and "answers" in value:
                return [Said(form.value(each["values"]), each["by"], each["at"]) for each in value["answers"]]
            return [Said(value, "marked", self._runner.clock.now())]
        return None


def _by_hand(what: Awaiting, value: Any, now: int) -> Came:
    """Make an event of the value that somebody marked a wait with."""
    return Came(0, what.kind, what.key, now, msgspec.json.encode(value).decode())
