"""What a body waits for outside of its run: a time, an event, people. One class each, for both drivers.

```
look      is it there already? the deadline, fixed when it is first looked for
listen    call back when it is worth looking again: an event has come, the time is over
come      what came of it; None when it is to be waited for longer
```
"""

from __future__ import annotations

import contextlib
import functools
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostinato.clock import SECOND
from ostinato.engine.identity import asked_id
from ostinato.engine.lifecycle import Result
from ostinato.engine.waiting import Seen
from ostinato.errors import WaitTimeout
from ostinato.fingerprint import fingerprint
from ostinato.future import wake_on
from ostinato.io.exceptions import encode_error
from ostinato.runtime.standstill import rests
from ostinato.timing import ANSWERED, Ask, Sought, event_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ostinato.records import StoredEvent, TaskRun
    from ostinato.runtime.call import Call
    from ostinato.runtime.forms import Form
    from ostinato.runtime.listener import Listening
    from ostinato.runtime.runner import Runner
    from ostinato.runtime.taking import Taking
    from ostinato.waiting import Asking, Awaiting, Sleeping

_BRIEF: Final = 1 * SECOND
"""A wait of so long at most: should its process die, it may begin anew."""
_MOMENT: Final = 0.05


class Wanted(ABC):
    """Something that is waited for."""

    reason: str
    """What it is, in a word."""
    kind = "timer"
    """Of `records.Wait`."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    @abstractmethod
    def look(self, row: TaskRun) -> Seen:
        """See whether it is there."""

    @abstractmethod
    def come(self, row: TaskRun) -> Result | None:
        """Say what came of it, if anything has."""

    @property
    def key(self) -> str | None:
        """What is waited for, as `records.Wait` names it."""
        return None

    @property
    def after(self) -> int:
        """Only events with a higher number count."""
        return 0

    @contextlib.contextmanager
    def listen(self, row: TaskRun, wake: Callable[[], None]) -> Iterator[None]:
        """Call back, from any thread, when it is worth looking again, while the context lasts."""
        runner, timer = self._runner, None
        if row.due_at is not None:
            timer = runner.session.timers.later(max(0.0, (row.due_at - runner.clock.now()) / SECOND), wake)
        try:
            with runner.still.awaiting(
                runner, self.kind, key=self.key, seq=row.seq, due_at=row.due_at, after=self.after
            ):
                wake()  # what has come since it was looked at
                yield
        finally:
            if timer is not None:
                timer.cancel()

    def _is_over(self, row: TaskRun) -> bool:
        return row.due_at is not None and self._runner.clock.now() >= row.due_at

    def _deadline(self, row: TaskRun, timeout: int | None) -> int | None:
        if row.due_at is not None or timeout is None:
            return row.due_at
        return self._runner.clock.now() + max(0, timeout)

    def _result(self, row: TaskRun, value: Any = None, error: BaseException | None = None) -> Result:
        now = self._runner.clock.now()
        result = Result(started_at=row.started_at or row.created_at, finished_at=now, value=value, error=error)
        if error is not None:
            result.stored = encode_error(error)
            return result
        found, session = fingerprint(value), self._runner.session
        result.stored, result.blob = session.results.dump(value, found, session.settings.inline_limit)
        result.fp = found.digest
        return result


class Time(Wanted):
    """A later time."""

    reason = "sleep"

    def __init__(self, runner: Runner, what: Sleeping) -> None:
        super().__init__(runner)
        self._what = what

    def look(self, row: TaskRun) -> Seen:
        """See whether it is past."""
        due_at = self._what.until if self._what.until is not None else self._deadline(row, self._what.microseconds)
        assert due_at is not None
        if self._runner.clock.now() >= due_at:
            return Seen(self._result(row))
        return Seen(None, due_at, is_brief=due_at - self._runner.clock.now() <= _BRIEF)

    def come(self, row: TaskRun) -> Result | None:
        """Say whether it has come."""
        return self._result(row) if self._is_over(row) else None


class _Heard(Wanted):
    """Something that an event tells of."""

    kind = "event"

    def __init__(self, runner: Runner) -> None:
        super().__init__(runner)
        self._news: list[StoredEvent] = []
        self._wake: Callable[[], None] = lambda: None
        self._listening: Listening | None = None

    @property
    @abstractmethod
    def sought(self) -> Sought:
        """The event."""

    @property
    def key(self) -> str:
        """What is waited for, as `records.Wait` names it."""
        return event_key(self.sought.kind, self.sought.key)

    @property
    def after(self) -> int:
        """Only events with a higher number count."""
        return self.sought.after

    @contextlib.contextmanager
    def listen(self, row: TaskRun, wake: Callable[[], None]) -> Iterator[None]:
        """Call back when one has come, or the time is over."""
        self._wake = wake
        with super().listen(row, wake):
            self._listen()
            try:
                yield
            finally:
                if self._listening is not None:
                    self._runner.session.listener.drop(self._listening)

    def _listen(self) -> None:
        listener = self._runner.session.listener
        self._listening = listener.listen(self._runner.run.id, self.sought, self._heard)

    def _heard(self, stored: StoredEvent) -> None:
        self._news.append(stored)
        self._wake()


class Happening(_Heard):
    """An event that this run has not taken yet."""

    reason = "event"

    def __init__(self, runner: Runner, what: Awaiting, taking: Taking) -> None:
        super().__init__(runner)
        self._what, self._taking = what, taking

    @property
    def sought(self) -> Sought:
        """The first after those that this run has taken."""
        return Sought(self._what.kind, self._what.key, self._taking.after(self._what))

    def look(self, row: TaskRun) -> Seen:
        """See whether there is one."""
        due_at = self._deadline(row, self._what.timeout)
        row = msgspec.structs.replace(row, due_at=due_at)
        found = self._take(row, self._ask()) or self._late(row)
        return Seen(found, due_at, is_brief=due_at is not None and due_at - self._runner.clock.now() <= _BRIEF)

    def come(self, row: TaskRun) -> Result | None:
        """Take the event that was heard of; look once more when the time is over."""
        if self._is_over(row):
            return self._take(row, self._ask()) or self._late(row)
        return self._take(row, self._news.pop()) if self._news else None

    def _ask(self) -> StoredEvent | None:
        found = self._runner.session.store.await_events(self._runner.run.id, [self.sought])
        return found[0] if found else None

    def _take(self, row: TaskRun, stored: StoredEvent | None) -> Result | None:
        """Take an event, or if another wait of this run has, the next one; none that came after the deadline."""
        while stored is not None and (row.due_at is None or stored.event.at <= row.due_at):
            if self._taking.take(self._what, stored.id):
                event = stored.event
                return self._result(row, {"event": [stored.id, event.kind, event.key or "", event.at, event.data]})
            stored = self._ask()
            if stored is None and self._listening is not None:
                self._listen()
        return None

    def _late(self, row: TaskRun) -> Result | None:
        if not self._is_over(row):
            return None
        about = f" with the key {self._what.key!r}" if self._what.key else ""
        return self._result(row, error=WaitTimeout(f"No event {self._what.kind}{about} came in time."))


class Question(_Heard):
    """People's answers to a question."""

    reason = "question"

    def __init__(self, runner: Runner, what: Asking, form: Form) -> None:
        super().__init__(runner)
        self._what, self._form = what, form
        self._id = ""

    @property
    def sought(self) -> Sought:
        """The event that tells that enough have answered."""
        return Sought(ANSWERED, self._id)

    def look(self, row: TaskRun) -> Seen:
        """Put the question, unless an earlier pass has."""
        runner, what = self._runner, self._what
        self._id = asked_id(runner.run.id, row.id, row.clears)
        asked = Ask(
            id=self._id,
            run_id=runner.run.id,
            flow=runner.run.flow,
            title=what.title,
            description=self._form.description,
            schema=self._form.schema,
            whom=what.to,
            needed=what.needed,
            created_at=runner.session.store.now(),
            expires_at=self._deadline(row, what.timeout),
        )
        ask = runner.session.store.put_ask(asked)
        row = msgspec.structs.replace(row, due_at=ask.expires_at)
        return Seen(self._judge(row, ask), ask.expires_at)

    def come(self, row: TaskRun) -> Result | None:
        """Read the answers when they are there, or the time is over."""
        if not self._news and not self._is_over(row):
            return None
        return self._judge(row, self._runner.session.store.get_ask(self._id))

    def _judge(self, row: TaskRun, ask: Ask) -> Result | None:
        if ask.state == "answered":
            return self._result(row, {"answers": msgspec.json.decode(ask.answers)})
        late = ask.expires_at is not None and self._runner.session.store.now() >= ask.expires_at
        if late or ask.state != "open":
            given = len(msgspec.json.decode(ask.answers))
            text = f"{given} of {ask.needed} have answered" if given else "Nobody has answered"
            return self._result(row, error=WaitTimeout(f"{text} the question {ask.title!r} in time."))
        if self._is_over(row):  # the store's clock decides, which is behind
            self._runner.session.timers.later(_MOMENT, self._wake)
        return None


def await_here(runner: Runner, call: Call, row: TaskRun) -> Result:
    """Wait in this thread, or without a process."""
    wanted = _begun(runner, call, row)
    stirred, event = threading.Event(), threading.Event()  # a signal to this thread sets the second too

    def wake() -> None:
        stirred.set()
        event.set()

    with wanted.listen(row, wake):
        while True:
            if stirred.is_set():
                stirred.clear()
                if (result := wanted.come(row)) is not None:
                    return result
            event.clear()
            if not stirred.is_set():
                runner.rest(event)
            runner.refuse_when_stopping()


@rests
async def await_async(runner: Runner, call: Call, row: TaskRun) -> Result:
    """Wait on this loop, or without a process."""
    wanted = _begun(runner, call, row)
    wakes: list[Callable[[Any], None]] = [lambda _: None]
    stirred = threading.Event()

    def wake() -> None:
        stirred.set()
        wakes[0](None)

    with wanted.listen(row, wake):
        while True:
            woken = wake_on(functools.partial(wakes.__setitem__, 0))
            if stirred.is_set():
                stirred.clear()
                if (result := wanted.come(row)) is not None:
                    return result
            else:
                await woken
            runner.refuse_when_stopping()


def _begun(runner: Runner, call: Call, row: TaskRun) -> Wanted:
    """Note that a wait begins, where that has not been saved."""
    if call.row is not row:
        runner.begin_attempt(call, row)
    assert call.wanted is not None
    return call.wanted
