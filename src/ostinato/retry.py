"""When a failed attempt is tried again, and after how long."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from ostinato.errors import DefinitionError, OutOfMemory

if TYPE_CHECKING:
    from collections.abc import Callable

    Matcher = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]

_MAX_TIMES = 10_000
_MOST_MEMORY = 100


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and when to try again.

    The n-th retry comes after ``delay * backoff ** (n - 1)`` seconds, at most `max_delay`, made up to
    ``jitter`` longer or shorter by chance (0.2 is ± 20 %).

    Args:
        times: Retries after the first attempt.
        delay: Seconds (or a `timedelta`) before the first retry.
        backoff: What the delay is multiplied by from one retry to the next.
        jitter: The share of chance in the delay, 0 to 1.
        on: Which failures are retried: exception types, or a predicate that takes the exception.
        max_delay: The longest delay, in seconds (or a `timedelta`).
        memory: How many times the memory the next attempt asks for after one that ran out of it (`OutOfMemory`).

    Raises:
        DefinitionError: If a value makes no sense.
    """

    times: int = 1
    delay: float | timedelta = 0.0
    backoff: float = 1.0
    jitter: float = 0.0
    on: Matcher = Exception
    max_delay: float | timedelta | None = None
    memory: float = 1.0

    def __post_init__(self) -> None:
        """Check the values."""
        self._check(isinstance(self.times, int) and 0 <= self.times <= _MAX_TIMES, "times", f"0 to {_MAX_TIMES}")
        self._check(_seconds(self.delay) >= 0, "delay", "seconds, 0 or more")
        self._check(self.backoff >= 1, "backoff", "1 or more")
        self._check(0 <= self.jitter <= 1, "jitter", "0 to 1")
        self._check(self.max_delay is None or _seconds(self.max_delay) >= 0, "max_delay", "seconds, 0 or more")
        self._check(isinstance(self.memory, (int, float)) and 1 <= self.memory <= _MOST_MEMORY, "memory", "1 to 100")
        types = self.on if isinstance(self.on, tuple) else (self.on,)
        fits = all(isinstance(t, type) and issubclass(t, BaseException) for t in types) if types else False
        predicate = callable(self.on) and not isinstance(self.on, type)
        self._check(fits or predicate, "on", "exception types, or a predicate that takes the exception")

    def _check(self, fits: bool, name: str, expected: str) -> None:  # noqa: FBT001  # the condition itself
        if not fits:
            message = f"Retry({name}=...) must be {expected}, got {getattr(self, name)!r}."
            raise DefinitionError(message)

    def matches(self, error: BaseException) -> bool:
        """Tell whether this failure is one to retry."""
        if isinstance(self.on, (type, tuple)):
            return isinstance(error, self.on)
        return bool(self.on(error))

    @property
    def on_out_of_memory(self) -> dict[str, float] | None:
        """How often an attempt that ran out of memory is tried again, with how many times the memory; None: never."""
        if not self.times or not self.matches(OutOfMemory()):
            return None
        return {"times": self.times, "memory": float(self.memory)}

    def delay_after(self, failures: int, error: BaseException, chance: float) -> float | None:
        """Say how long to wait after a failure, or None to give up.

        Args:
            failures: Failed attempts so far, this one included.
            error: What the attempt raised.
            chance: A random number in [0, 1), for the jitter.

        Returns:
            Seconds.
        """
        if failures > self.times or not self.matches(error):
            return None
        limit = math.inf if self.max_delay is None else _seconds(self.max_delay)
        # backoff ** n may overflow for many retries: the limit wins then.
        try:
            delay = _seconds(self.delay) * self.backoff ** (failures - 1)
        except OverflowError:
            delay = math.inf
        delay = min(delay, limit, 10 * 365 * 86_400.0)
        return delay * (1 + self.jitter * (2 * chance - 1))


def _seconds(value: float | timedelta) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def to_retry(value: Retry | int | None) -> Retry | None:
    """Read the `retry` option: ``retry=3`` is short for ``Retry(3)``."""
    if value is None or isinstance(value, Retry):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Retry(value)
    message = f"retry must be a Retry or a number of retries, got {value!r}."
    raise DefinitionError(message)
