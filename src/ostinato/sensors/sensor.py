"""Sensors: functions that look at something outside, now and then, and request runs for what is new there.

```
Sensor, due ─► a small run on a worker ─► fn(context) ─► RunRequest | Skip … ─► Look: requests, new cursor
                                              ▲                                     │ one transaction:
                                              └───────── cursor ◄───────────────────┘ cursor, ticks, runs
```

The function gets the cursor that its last look left, and leaves another. The runs that it requests and that cursor are
stored together or not at all: no look is lost and none counts twice. A request with a `key` makes its run once,
however often it is requested. `ostinato.sensors.outside` has sensors for files, buckets, SQL and HTTP.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterable, Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import PurePath
from typing import Any, Final, Generic, ParamSpec, Protocol, TypeVar, overload

import msgspec

from ostinato.errors import DefinitionError, SensorError, nearest
from ostinato.outcomes import Skip

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
MOST_REQUESTS: Final = 10_000
"""Runs that one look may request. They are stored in one transaction."""
_LEAST_EVERY: Final = 0.1
_LONGEST_KEY: Final = 500


class Startable(Protocol):
    """A flow or a deployment."""

    @property
    def name(self) -> Any:
        """What it is called."""
        ...


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run that a sensor asks for.

    Args:
        start: The flow, the deployment, or the name of one.
        parameters: Parameters that differ from the deployment's own.
        key: What it is for: of all requests of this sensor with one key, the first makes a run and no other.
        tags: Labels of the run, besides the deployment's.
        partition: The partition that it is for.

    Raises:
        DefinitionError: If a value makes no sense.
    """

    start: str | Startable
    parameters: Mapping[str, Any] = field(default_factory=dict)
    key: str | None = None
    tags: Iterable[str] = ()
    partition: str | None = None

    def __post_init__(self) -> None:
        """Check the values, and write the parameters as what travels: plain data."""
        object.__setattr__(self, "start", target_name(self.start))
        if not isinstance(self.parameters, Mapping):
            message = f"RunRequest(parameters=...) takes values by name, got {self.parameters!r}."
            raise DefinitionError(message)
        if self.key is not None and not (isinstance(self.key, str) and 0 < len(self.key) <= _LONGEST_KEY):
            message = f"RunRequest(key=...) takes a text of 1 to {_LONGEST_KEY} characters, got {self.key!r}."
            raise DefinitionError(message)
        tags = () if isinstance(self.tags, str) else tuple(self.tags)
        if isinstance(self.tags, str) or not all(isinstance(tag, str) for tag in tags):
            message = f"RunRequest(tags=...) takes a list of texts, got {self.tags!r}."
            raise DefinitionError(message)
        object.__setattr__(self, "tags", tags)
        named = {name: _plain(value, f"the parameter {name!r}") for name, value in self.parameters.items()}
        object.__setattr__(self, "parameters", named)

    @property
    def target(self) -> str:
        """The name of the deployment that is started."""
        return str(self.start)


def target_name(target: Any) -> str:
    """Return the name of the deployment that a flow, a deployment or a name means.

    Raises:
        DefinitionError: If it is none of these.
    """
    name = target if isinstance(target, str) else getattr(target, "full_name", None) or getattr(target, "name", None)
    if isinstance(name, str) and name:
        return name
    message = f"A run can be requested of a flow, a Deployment or the name of one, got {target!r}."
    raise DefinitionError(message)


class SensorContext:
    """What a sensor's function is given, if it takes an argument.

    Args:
        cursor: What the last look left: any plain data, None at the first.
        now: When this look began; the present by default.
        last_tick_at: When the last look that went well began.
    """

    def __init__(
        self, cursor: Any = None, *, now: datetime | None = None, last_tick_at: datetime | None = None
    ) -> None:
        self.cursor: Any = cursor
        """Set it to what the next look is to go on from. It counts only if this look goes well."""
        self.now = now or datetime.now(UTC)
        self.last_tick_at = last_tick_at

    def __repr__(self) -> str:
        """Show the cursor."""
        return f"SensorContext(cursor={self.cursor!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What came of one look."""

    requests: list[RunRequest]
    skip: str | None
    """Why it requests nothing, as the sensor says; None where it requests runs, or says nothing."""
    cursor: str | None
    """The new cursor, as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorOptions:
    """The options of a sensor, checked."""

    name: str | None = None
    every: float = 30.0
    timeout: float = 60.0
    pool: str | None = None
    paused: bool = False
    cursor: str | None = None
    """What the first look is given, as JSON."""
    tags: tuple[str, ...] = ()
    description: str | None = None


class Sensor(Generic[P, R_co]):
    """A function that looks at something outside and requests runs. Called, it is just that function.

    Attributes:
        fn: The function.
        options: Its options.
    """

    def __init__(self, fn: Callable[P, R_co], options: SensorOptions) -> None:
        self.fn = fn
        self.options = options
        self._takes_context = _takes_context(fn)
        functools.update_wrapper(self, fn)

    @property
    def name(self) -> str:
        """The given name, or the function's; of one that has neither, that of its variable is meant."""
        return self.options.name or "sensor"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function."""
        return self.fn(*args, **kwargs)

    def look(self, context: SensorContext) -> Look:
        """Look once: call the function and see what it requests. Nothing is started.

        Args:
            context: What the function is given; its cursor is the new one afterwards.

        Raises:
            SensorError: If it gives something else than requests, or leaves a cursor that cannot be kept.
            Exception: What the function raises.
        """
        found: list[RunRequest] = []
        skips: list[str] = []
        call: Any = self.fn
        made = call(context) if self._takes_context else call()
        if inspect.isawaitable(made) or isinstance(made, AsyncIterable):
            made = asyncio.run(_gather(made))
        for item in _items(made):
            if isinstance(item, RunRequest):
                found.append(item)
            elif isinstance(item, Skip):
                skips.append(item.why)
            elif item is not None:
                raise SensorError(
                    f"The sensor {self.name} must give RunRequest(...)s or Skip(...), it gave {_shown(item)}."
                )
            if len(found) > MOST_REQUESTS:
                raise SensorError(
                    f"The sensor {self.name} requests more than {MOST_REQUESTS:,} runs in one look. Stop before, and "
                    "leave a cursor from which the next look goes on."
                )
        skip = None if found else next(filter(None, skips), "") if skips else None
        return Look(requests=found, skip=skip, cursor=write_cursor(context.cursor, self.name))

    def __repr__(self) -> str:
        """Show the name."""
        return f"<Sensor {self.name}>"


async def _gather(made: Any) -> Any:
    """Wait for what an async function gives: a value, or the items of an async generator."""
    if inspect.isawaitable(made):
        made = await made
    if not isinstance(made, AsyncIterable):
        return made
    items: list[Any] = []
    async for item in made:
        items.append(item)
        if len(items) > 2 * MOST_REQUESTS:
            break
    return items


def _items(made: Any) -> Iterator[Any]:
    """Yield what a function gives, one by one; of a generator, what it returns in the end too."""
    if isinstance(made, Generator):
        yield (yield from made)
    elif isinstance(made, Iterable) and not isinstance(made, (str, bytes, Mapping)):
        yield from made
    else:
        yield made


def write_cursor(cursor: Any, name: str) -> str | None:
    """Write a cursor as JSON; None is none.

    Raises:
        SensorError: If it is no plain data.
    """
    if cursor is None:
        return None
    try:
        return msgspec.json.encode(_plain(cursor, f"the cursor of {name}")).decode()
    except DefinitionError as error:
        raise SensorError(str(error)) from None


def read_cursor(cursor: str | None) -> Any:
    """Read what `write_cursor` wrote."""
    return None if cursor is None else msgspec.json.decode(cursor)


def parse_cursor(text: str) -> Any:
    """Read a cursor as somebody types it: JSON, or else a text as it is."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _plain(value: Any, what: str) -> Any:
    """Turn a value into what JSON has: instants, paths, UUIDs and data classes too."""
    try:
        return msgspec.json.decode(msgspec.json.encode(value, enc_hook=_as_text))
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        message = f"{what[0].upper()}{what[1:]} cannot be kept as plain data ({error}); got {_shown(value)}."
        raise DefinitionError(message) from None


def _as_text(value: Any) -> Any:
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = f"a {type(value).__name__}"
    return text if len(text) <= 120 else f"{text[:119]}…"  # noqa: PLR2004  # a line


def _takes_context(fn: Callable[..., Any]) -> bool:
    parameters = list(inspect.signature(fn).parameters.values())
    needed = [one for one in parameters if one.default is one.empty and one.kind not in (2, 4)]
    by_place = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    if len(needed) > 1 or (needed and needed[0] not in by_place[:1]):
        names = ", ".join(one.name for one in needed)
        message = f"A sensor's function takes its context, or nothing; {getattr(fn, '__name__', fn)} takes {names}."
        raise DefinitionError(message)
    named = bool(by_place) and by_place[0].name in ("context", "sensor")
    return bool(needed) or named


# --- the decorator


class SensorDecorator(Protocol):
    """What ``sensor(...)`` returns."""

    def __call__(self, fn: Callable[P, R_co], /) -> Sensor[P, R_co]:
        """Make a sensor of a function."""
        ...


@overload
def sensor(fn: Callable[P, R_co], /) -> Sensor[P, R_co]: ...
@overload
def sensor(
    *,
    every: float | timedelta = 30,
    name: str | None = None,
    timeout: float | timedelta = 60,
    pool: str | None = None,
    paused: bool = False,
    cursor: Any = None,
    tags: Iterable[str] = (),
    description: str | None = None,
) -> SensorDecorator: ...
def sensor(fn: Any = None, /, **options: Any) -> Any:
    """Make a sensor of a function, bare (``@sensor``) or with options (``@sensor(every=10)``).

    The function takes nothing, or one argument, its `SensorContext`. It returns or yields `RunRequest`s, or
    ``Skip("why")``; it may be async.

    Args:
        fn: The function.
        **options: `every`: seconds from one look to the next. `name`: instead of the function's. `timeout`: seconds
            after which a look is ended. `pool`: the work pool whose workers look. `paused`: whether it begins paused.
            `cursor`: what the first look is given. `tags`: labels of the looks. `description`: instead of the
            docstring.

    Raises:
        DefinitionError: If an option is unknown or its value makes no sense.
    """
    checked = sensor_options(**_known(options))
    return (lambda function: _sensor(function, checked)) if fn is None else _sensor(fn, checked)


_NAMES: Final = tuple(SensorOptions.__dataclass_fields__)


def sensor_options(
    *,
    every: float | timedelta = 30,
    name: str | None = None,
    timeout: float | timedelta = 60,
    pool: str | None = None,
    paused: bool = False,
    cursor: Any = None,
    tags: Iterable[str] = (),
    description: str | None = None,
) -> SensorOptions:
    """Check the options of a sensor.

    Raises:
        DefinitionError: If a value makes no sense.
    """
    if name is not None and not (isinstance(name, str) and name):
        message = f"A sensor's name is a text, got {name!r}."
        raise DefinitionError(message)
    return SensorOptions(
        name=name,
        every=_seconds(every, "every", _LEAST_EVERY),
        timeout=_seconds(timeout, "timeout", 0.0),
        pool=pool,
        paused=bool(paused),
        cursor=None if cursor is None else msgspec.json.encode(_plain(cursor, "the cursor")).decode(),
        tags=tuple(tags),
        description=description,
    )


def _seconds(value: Any, option: str, least: float) -> float:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not max(least, 1e-3) <= seconds < 1e9:  # noqa: PLR2004  # 31 years
        lowest = f"{least:g} or more" if least else "a positive number"
        message = f"A sensor's {option} must be seconds ({lowest}) or a timedelta, got {value!r}."
        raise DefinitionError(message)
    return float(seconds)


def _known(options: dict[str, Any]) -> dict[str, Any]:
    for name in options:
        if name not in _NAMES:
            message = f"@sensor has no option {name!r}; it has {', '.join(_NAMES)}.{nearest(name, _NAMES)}"
            raise DefinitionError(message)
    return options


def _sensor(fn: Any, options: SensorOptions) -> Sensor[Any, Any]:
    if not inspect.isroutine(fn):
        message = f"@sensor goes on a function, got {fn!r}."
        raise DefinitionError(message)
    return Sensor(fn, replace(options, name=options.name or fn.__name__))
