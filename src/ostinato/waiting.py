"""Durable waits, and the events that end them: `sleep`, `wait_for`, `ask`, `emit`.

In the body of a flow a wait survives crashes, restarts and deploys, and a long one holds no process: the body is run
again when it is over, takes what came the first time and goes on. In a sync body a call returns when it is over; in an
async one what it returns is awaited, alone or in a `gather`:

```python
received = wait_for("orders.landed", key=order, timeout=3600)          # def
received = await wait_for("orders.landed", key=order, timeout=3600)    # async def
```

Inside a task they wait in the process. Outside a run only `sleep` and `emit` mean anything.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import time
import types
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, Self, TypeVar

import msgspec

from ostinato.clock import SECOND, instant_of, to_datetime
from ostinato.context import find_frame
from ostinato.errors import UsageError
from ostinato.future import find_loop
from ostinato.timing import ANSWERED, OWN_KINDS

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator

F = TypeVar("F")
C = TypeVar("C", bound="_Coming")

_LONGEST_NAME: Final = 200
_LONGEST_KEY: Final = 1000
_LARGEST: Final = 256 * 1024
"""Bytes of an event's data at most: it is read by whoever reads events."""


# --- what is asked of the runtime


class Sleeping(msgspec.Struct, frozen=True):
    """Wait until an instant, or so many microseconds from the first pass on."""

    microseconds: int | None = None
    until: int | None = None


class Awaiting(msgspec.Struct, frozen=True):
    """Wait for an event."""

    kind: str
    key: str
    timeout: int | None = None
    """Microseconds from the first pass on."""
    since: int | None = None
    """An instant; None for the run's creation."""


class Asking(msgspec.Struct, frozen=True):
    """Put a question to people and wait for the answers."""

    form: Any
    to: str | None
    title: str
    timeout: int | None
    needed: int


class Came(msgspec.Struct, frozen=True):
    """An event that was waited for, as the journal keeps it."""

    id: int
    kind: str
    key: str
    at: int
    data: str
    """JSON."""


class Said(msgspec.Struct, frozen=True):
    """One person's answer, its value made by the form."""

    value: Any
    by: str
    at: int


# --- what a wait gives


class _Coming:
    """What a wait gives: there already in a sync body, awaited in an async one."""

    __slots__ = ("_came", "_coming")

    def __init__(self, came: Any = None, coming: Coroutine[Any, Any, Any] | None = None) -> None:
        self._came, self._coming = came, coming

    def _await(self) -> Generator[Any, None, Self]:
        if self._coming is not None:
            self._came = yield from _through(self._coming)
            self._coming = None
        return self

    def _there(self) -> Any:
        if self._coming is not None:
            message = f"What {self._name} waits for has not come: in an async body, `await` it first."
            raise UsageError(message)
        return self._came

    _name = "the wait"


@types.coroutine
def _through(coming: Coroutine[Any, Any, Any]) -> Generator[Any, None, Any]:
    """Await a coroutine such that whoever looks at what awaits what can look through."""
    return (yield from coming)


class Slept(_Coming):
    """The end of a `sleep`."""

    __slots__ = ()
    _name = "sleep"

    def __await__(self) -> Generator[Any, None, None]:
        """Wait until it is over."""
        yield from self._await()


class Received(_Coming):
    """An event that was waited for."""

    __slots__ = ()
    _name = "wait_for"

    def __await__(self) -> Generator[Any, None, Received]:
        """Wait for it."""
        return (yield from self._await())

    @property
    def kind(self) -> str:
        """Its kind."""
        found: Came = self._there()
        return found.kind

    @property
    def key(self) -> str:
        """What it is about."""
        found: Came = self._there()
        return found.key

    @property
    def data(self) -> Any:
        """What came with it, as JSON makes it."""
        found: Came = self._there()
        return msgspec.json.decode(found.data)

    @property
    def at(self) -> datetime:
        """When it was emitted, aware, in UTC."""
        found: Came = self._there()
        return to_datetime(found.at)

    @property
    def id(self) -> int:
        """Its number."""
        found: Came = self._there()
        return found.id

    def __ostinato_fingerprint__(self) -> tuple[str, int, str]:
        """Count, as an argument, as the event it is."""
        found: Came = self._there()
        return "event", found.id, found.data

    def __reduce__(self) -> Any:
        """Pickle as the event."""
        return Received, (self._there(),)

    def __repr__(self) -> str:
        """Show what came."""
        if self._coming is not None:
            return "<Received: not awaited>"
        about = f" {self.key!r}" if self.key else ""
        return f"<Received {self.kind}{about}, event {self.id}>"


class Reply(NamedTuple, Generic[F]):
    """What one person answered."""

    value: F
    by: str
    at: datetime


class Answer(_Coming, Generic[F]):
    """What people answered to a question."""

    __slots__ = ()
    _name = "ask"

    def __await__(self) -> Generator[Any, None, Answer[F]]:
        """Wait until enough have answered."""
        return (yield from self._await())

    @property
    def value(self) -> F:
        """The last answer, in the form's own type."""
        return self.all[-1].value

    @property
    def by(self) -> str:
        """Who gave it."""
        return self.all[-1].by

    @property
    def at(self) -> datetime:
        """When, aware, in UTC."""
        return self.all[-1].at

    @property
    def all(self) -> list[Reply[F]]:
        """Everybody's answer, in the order they came."""
        said: list[Said] = self._there()
        return [Reply(each.value, each.by, to_datetime(each.at)) for each in said]

    def __ostinato_fingerprint__(self) -> tuple[Any, ...]:
        """Count, as an argument, as what was answered."""
        return "answer", [(each.value, each.by, each.at) for each in self._there()]

    def __reduce__(self) -> Any:
        """Pickle as what was answered."""
        return Answer, (self._there(),)

    def __repr__(self) -> str:
        """Show who answered what."""
        if self._coming is not None:
            return "<Answer: not awaited>"
        return f"<Answer {', '.join(f'{reply.value!r} by {reply.by}' for reply in self.all)}>"


# --- what users call


def sleep(seconds: float | timedelta | None = None, *, until: datetime | None = None) -> Slept:
    """Wait for a time, or until one.

    When it is over is fixed when it is first called: a run that is down meanwhile sleeps no longer for that.

    Args:
        seconds: How long.
        until: Until when, aware, instead.

    Raises:
        UsageError: If neither or both are given, or `until` has no time zone.
    """
    if (seconds is None) == (until is None):
        message = "sleep takes either seconds or until=: sleep(3600), sleep(until=tomorrow)."
        raise UsageError(message)
    what = Sleeping(
        microseconds=None if seconds is None else max(0, _microseconds("sleep", "seconds", seconds)),
        until=None if until is None else _instant("sleep", "until", until),
    )
    frame = find_frame()
    if frame is not None and frame.runtime is not None:
        return _given(Slept, frame.runtime.outside.wait(what))
    left = what.microseconds if what.until is None else max(0, what.until - time.time_ns() // 1000)
    if find_loop() is not None:
        return Slept(coming=asyncio.sleep((left or 0) / SECOND))
    time.sleep((left or 0) / SECOND)
    return Slept()


def wait_for(
    kind: str,
    key: str = "",
    timeout: float | timedelta | None = None,
    since: datetime | None = None,
) -> Received:
    """Wait for an event that somebody emits, and take it: the first since the run was created that it has not taken.

    An event that came before the wait began is not lost. Each run that waits for a kind and key takes each event of
    it once, in the order of their numbers.

    Args:
        kind: The kind of the event, whole: ``orders.landed``.
        key: Its key; an event without one has ``""``.
        timeout: Seconds, from when this is first called.
        since: Take events from then on, aware, instead of from the run's creation on.

    Raises:
        WaitTimeout: If none came in time; the same when the body is run again.
    """
    check_kind(kind)
    check_key(key)
    what = Awaiting(
        kind=kind,
        key=key,
        timeout=None if timeout is None else _microseconds("wait_for", "timeout", timeout),
        since=None if since is None else _instant("wait_for", "since", since),
    )
    return _given(Received, _in_a_run("wait_for").outside.wait(what))


def ask(
    form: type[F],
    *,
    to: str | None = None,
    title: str | None = None,
    timeout: float | timedelta | None = None,
    needed: int = 1,
) -> Answer[F]:
    """Put a question to people and wait for the answer: ``ostinato asks answer``, ``POST /api/asks/{id}/answer``.

    Args:
        form: What an answer is: a pydantic model, a dataclass, or a plain type such as `bool`.
        to: Who may answer: a user, or a role (``admin``); None for any operator.
        title: What is asked, in a line; made of the form's name if None.
        timeout: Seconds, from when this is first called.
        needed: How many different people must answer.

    Raises:
        WaitTimeout: If too few have answered in time.
    """
    if needed < 1:
        message = f"ask(needed=…) is the number of people who must answer, 1 or more, not {needed}."
        raise UsageError(message)
    name = getattr(form, "__name__", str(form))
    what = Asking(
        form=form,
        to=to,
        title=title or f"{name}?",
        timeout=None if timeout is None else _microseconds("ask", "timeout", timeout),
        needed=needed,
    )
    return _given(Answer[F], _in_a_run("ask").outside.wait(what))


def emit(kind: str, key: str = "", data: Any = None) -> None:
    """Tell that something has happened: whoever waits for it goes on, schedules and automations hear of it.

    In a run it is journaled with the run: a body that is run again does not emit twice.

    Args:
        kind: What has happened, ``orders.landed``. Those that begin like Ostinato's own are refused.
        key: What it is about, for those who wait for just that.
        data: Anything that JSON can hold, 256 KiB at most.

    Raises:
        UsageError: If one of them is not as it must be.
    """
    check_emitted(kind, key)
    text = to_json(data)
    frame = find_frame()
    if frame is not None and frame.runtime is not None:
        frame.runtime.outside.emit(kind, key, text)
    elif frame is not None and frame.emit is not None:
        frame.emit(kind, key, text)
    else:
        from ostinato.runtime.emitting import emit_elsewhere  # a lazy door, as where a flow is called outside a run

        emit_elsewhere(kind, key, text)


def _in_a_run(verb: str) -> Any:
    frame = find_frame()
    if frame is None:
        message = f"{verb} waits durably, so it is called in a flow, or in a task of one, not outside of a run."
        raise UsageError(message)
    if frame.runtime is None:
        message = (
            f"{verb} was called in a task that runs in another process, which cannot wait. Call it in the flow and "
            "pass on what came, or run the task in threads."
        )
        raise UsageError(message)
    return frame.runtime


def _given(kind: type[C], found: Any) -> C:
    return kind(coming=found) if inspect.iscoroutine(found) else kind(found)


# --- checks


def check_kind(kind: str) -> None:
    """Refuse a kind that no event of a user can have.

    Raises:
        UsageError: If it is empty, too long, has odd characters or is one of ours.
    """
    if not isinstance(kind, str) or not kind or len(kind) > _LONGEST_NAME or not kind.isprintable() or " " in kind:
        message = f"The kind of an event is a word, {_LONGEST_NAME} characters at most, not {kind!r:.80}."
        raise UsageError(message)
    first = kind.partition(".")[0]
    if first in OWN_KINDS and kind != ANSWERED:
        message = (
            f"Events of kind {first}.… are made by Ostinato itself. Choose another word, or use an automation to hear "
            "of them."
        )
        raise UsageError(message)


def check_emitted(kind: str, key: str) -> None:
    """Refuse what users may not emit.

    Raises:
        UsageError: If the kind or the key is not as it must be, or one of ours.
    """
    check_kind(kind)
    check_key(key)
    if kind == ANSWERED:
        message = "Questions are answered by `ostinato asks answer`, not by an event."
        raise UsageError(message)


def check_key(key: str) -> None:
    """Refuse a key that no event can have.

    Raises:
        UsageError: If it is no text, or too long.
    """
    if not isinstance(key, str):
        message = f"The key of an event is a text, got {key!r:.80} ({type(key).__name__}): write str(…)."
        raise UsageError(message)
    if len(key) > _LONGEST_KEY or not all(char.isprintable() for char in key):
        message = f"The key of an event has at most {_LONGEST_KEY} printable characters, got {len(key)}: {key!r:.80}."
        raise UsageError(message)


def to_json(data: Any) -> str:
    """Write an event's data.

    Raises:
        UsageError: If JSON cannot hold it, or it is too large.
    """
    try:
        text = msgspec.json.encode(data).decode()
    except (TypeError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        message = f"The data of an event is what JSON can hold: {error}. Emit plain dicts, lists, texts and numbers."
        raise UsageError(message) from None
    if len(text) > _LARGEST:
        message = f"The data of an event has {len(text):,} bytes, {_LARGEST:,} at most: store it, and emit where it is."
        raise UsageError(message)
    return text


def _microseconds(verb: str, name: str, value: float | timedelta) -> int:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
        message = f"{verb}({name}=…) is a number of seconds or a timedelta, not {value!r}."
        raise UsageError(message)
    return round(seconds * SECOND)


def _instant(verb: str, name: str, value: datetime) -> int:
    if not isinstance(value, datetime) or value.tzinfo is None:
        message = f"{verb}({name}=…) is a datetime with a time zone, such as ostinato.now() gives, not {value!r}."
        raise UsageError(message)
    return instant_of(value)
