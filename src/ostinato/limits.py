"""Concurrency limits: how many runs or task runs may do something at once, or how often a second, over all processes.

```
Limit, Overlap ── with a call's parameters ──► Passing: one gate, ``db`` or ``db[acme]`` ──► the store counts
```

Whoever needs several takes them one after the other in one order that is the same for all (`in_order`): nobody waits in
a circle.
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostinato.clock import SECOND
from ostinato.errors import DefinitionError, nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

POLICIES: Final = ("allow", "queue", "skip", "cancel_new", "cancel_running")
OVERLAP: Final = "overlap:"
"""What the gates of `Overlap` begin with."""
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_RATE: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*/\s*(\d*)\s*([smhd])\s*")
_FASTEST: Final = 1_000_000.0
_LONGEST_KEY: Final = 100
_LEAST_WEIGHT: Final = 0.001


class Passing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one run or task run needs of one limit, as it is stored and sent."""

    gate: str
    """The gate's id: the limit's name, or ``name[key]``."""
    limit: str
    slots: int | None = None
    """How many may hold it at once, as the code says; None where only the rate is limited."""
    rate: float | None = None
    """How many may begin a second, on average."""
    burst: int = 1
    share: str = ""
    """Whose turn it counts for, where the slots are shared fairly."""
    weight: float = 1.0
    priority: int = 0
    """Each point is worth a minute in the line."""
    policy: str = "queue"
    """When there is no room: ``queue``, or for a run ``skip``, ``cancel_new`` or ``cancel_running``: see `Overlap`."""


class Entrance(msgspec.Struct, frozen=True):
    """What one task run asks for."""

    seq: int
    """The task run; -1 for the run itself."""
    gates: list[Passing]


class Entered(msgspec.Struct, frozen=True):
    """What came of asking."""

    held: list[int]
    """The task runs that hold all that they asked for."""
    rooms: dict[str, int | None] = {}
    """The slots of those gates that somebody's hand has given others than the code says."""
    refused: str | None = None
    """How the run ends whose overlap does not let it begin: ``skipped`` or ``cancelled``."""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `slots` at once, at most `rate` of them beginning, of all that carry a limit of this name.

    It counts over all processes that share a database: runs for a flow's limits, task runs for a task's.

    Args:
        name: What is limited: ``"database"``, ``"openweather"`` …
        slots: How many at once; None where only the rate counts.
        key: The name of a parameter: each of its values has slots, and a rate, of its own.
        rate: How many may begin: ``"100/m"``, ``"5/s"``, ``"20/15m"``, or a number a second.
        burst: How many may begin at once after a quiet time, before the rate holds.
        fair: The name of a parameter: who waits is let in in turns by its values, whoever came first.
        weights: By value of `fair` how many turns it has for one of the others; 1 for those not in it.

    Raises:
        DefinitionError: If a value makes no sense.
    """

    name: str
    slots: int | None = None
    key: str | None = None
    rate: str | float | None = None
    burst: int = 1
    fair: str | None = None
    weights: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Check the values."""
        check_name(self.name)
        if self.slots is not None and not _is_count(self.slots):
            message = f"Limit({self.name!r}, slots=...) must be a number of slots, 1 or more, got {self.slots!r}."
            raise DefinitionError(message)
        if self.slots is None and self.rate is None:
            message = f"Limit({self.name!r}) limits nothing: give it slots, Limit({self.name!r}, 5), or a rate."
            raise DefinitionError(message)
        if self.rate is not None:
            to_rate(self.rate, f"Limit({self.name!r}, rate=...)")
        if not _is_count(self.burst):
            message = f"Limit({self.name!r}, burst=...) must be a number, 1 or more, got {self.burst!r}."
            raise DefinitionError(message)
        if self.weights and self.fair is None:
            message = f"Limit({self.name!r}, weights=...) weighs the values of a parameter: name it by fair=."
            raise DefinitionError(message)
        for share, weight in self.weights.items():
            check_weight(share, weight, f"Limit({self.name!r}, weights=...)")

    def check(self, parameters: Collection[str]) -> None:
        """Refuse a `key`, or `fair`, that is not a parameter.

        Raises:
            DefinitionError: Naming the nearest parameter.
        """
        for option, named in (("key", self.key), ("fair", self.fair)):
            if named is not None and named not in parameters:
                message = (
                    f"Limit({self.name!r}, {option}={named!r}) names no parameter; there "
                    f"{'is' if len(parameters) == 1 else 'are'} {', '.join(parameters) or 'none'}."
                    f"{nearest(named, parameters)}"
                )
                raise DefinitionError(message)

    def passing(self, arguments: Mapping[str, Any], *, priority: int = 0) -> Passing:
        """Say what a call with these arguments needs."""
        share = "" if self.fair is None else text_of(arguments.get(self.fair))
        return Passing(
            gate=gate_of(self.name, self.key, arguments),
            limit=self.name,
            slots=self.slots,
            rate=None if self.rate is None else to_rate(self.rate, "rate"),
            burst=self.burst,
            share=share,
            weight=float(self.weights.get(share, 1.0)),
            priority=priority,
        )

    def to_data(self) -> dict[str, Any]:
        """Describe it as data; `Limit(**data)` makes it again."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in values.items() if value is not None and value != {}}


@dataclass(frozen=True, slots=True)
class Overlap:
    """What happens when a run of a deployment is started while another is under way.

    Args:
        policy: ``allow``: both run. ``queue``: the new one waits. ``skip``: the new one is skipped. ``cancel_new``: the
            new one is cancelled. ``cancel_running``: the others are cancelled and the new one runs after that.
        key: The name of a parameter: only runs with the same value of it stand in each other's way.

    Raises:
        DefinitionError: If there is no such policy.
    """

    policy: str
    key: str | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if self.policy not in POLICIES:
            message = (
                f"overlap={self.policy!r} is no policy; expected one of {', '.join(POLICIES)}."
                f"{nearest(str(self.policy), POLICIES)}"
            )
            raise DefinitionError(message)

    def check(self, parameters: Collection[str]) -> None:
        """Refuse a `key` that is not a parameter.

        Raises:
            DefinitionError: Naming the nearest parameter.
        """
        if self.key is not None and self.key not in parameters:
            message = (
                f"Overlap({self.policy!r}, key={self.key!r}) names no parameter; there "
                f"{'is' if len(parameters) == 1 else 'are'} {', '.join(parameters) or 'none'}."
                f"{nearest(self.key, parameters)}"
            )
            raise DefinitionError(message)

    def passing(self, deployment: str, arguments: Mapping[str, Any], *, priority: int = 0) -> Passing:
        """Say what a run with these parameters needs."""
        name = OVERLAP + deployment
        return Passing(
            gate=gate_of(name, self.key, arguments), limit=name, slots=1, priority=priority, policy=self.policy
        )

    def to_data(self) -> dict[str, Any]:
        """Describe it as data; `Overlap(**data)` makes it again."""
        return {"policy": self.policy} | ({} if self.key is None else {"key": self.key})


def to_limits(value: Limit | list[Limit] | tuple[Limit, ...] | None) -> tuple[Limit, ...]:
    """Read the `limits` option: one limit or several, in a fixed order."""
    if value is None:
        return ()
    several = value if isinstance(value, (list, tuple)) else (value,)
    for limit in several:
        if not isinstance(limit, Limit):
            message = f"limits must be Limit(name, slots), one or a list of them, got {limit!r}."
            raise DefinitionError(message)
    return tuple(sorted(several, key=lambda limit: (limit.name, limit.key or "")))


def to_overlap(value: Overlap | str | None) -> Overlap | None:
    """Read the `overlap` option; None for what stands in nobody's way."""
    if value is None or isinstance(value, Overlap):
        found = value
    elif isinstance(value, str):
        found = Overlap(value)
    else:
        message = f"overlap must be one of {', '.join(POLICIES)} or Overlap(policy, key=...), got {value!r}."
        raise DefinitionError(message)
    return None if found is None or found.policy == "allow" else found


def gates_of_run(
    options: Mapping[str, Any], deployment: str, parameters: Mapping[str, Any], priority: int
) -> list[Passing]:
    """Say what a run needs by its deployment's options, `limits` and `overlap` as data, and its parameters."""
    found = [Limit(**data).passing(parameters, priority=priority) for data in options.get("limits") or ()]
    if options.get("overlap"):
        found.append(Overlap(**options["overlap"]).passing(deployment, parameters, priority=priority))
    return in_order(found)


def in_order(passings: Iterable[Passing]) -> list[Passing]:
    """Put what somebody needs in the order in which everybody takes it: overlap first, each gate once."""
    once: dict[str, Passing] = {}
    for passing in passings:
        once.setdefault(passing.gate, passing)
    return sorted(once.values(), key=lambda passing: (not passing.gate.startswith(OVERLAP), passing.gate))


def to_json(passings: Iterable[Passing]) -> str | None:
    """Encode what a run needs as `Run.gates`; None for nothing."""
    wanted = list(passings)
    return msgspec.json.encode(wanted).decode() if wanted else None


_read = msgspec.json.Decoder(list[Passing]).decode


def from_json(gates: str | None) -> list[Passing]:
    """Decode `Run.gates`."""
    return _read(gates) if gates else []


@functools.lru_cache(maxsize=64)
def ids_of(gates: str | None) -> frozenset[str]:
    """Name the gates that a run passes."""
    return frozenset(passing.gate for passing in from_json(gates))


def gate_of(name: str, key: str | None, arguments: Mapping[str, Any]) -> str:
    """Name a limit's gate for a call with these arguments."""
    return name if key is None else f"{name}[{text_of(arguments.get(key))}]"


def text_of(value: Any) -> str:
    """Write a parameter's value as a key: a text as it is, all else as JSON; what is long is cut, with its hash."""
    if isinstance(value, str):
        text = value
    else:
        try:
            text = msgspec.json.encode(value).decode().strip('"')
        except (TypeError, ValueError, OverflowError):
            text = repr(value)
    if len(text) > _LONGEST_KEY:
        text = (
            f"{text[: _LONGEST_KEY // 2]}…{hashlib.blake2b(text.encode(errors='replace'), digest_size=8).hexdigest()}"
        )
    return text


def to_rate(value: Any, what: str) -> float:
    """Read a rate: ``100/m``, or a number a second.

    Raises:
        DefinitionError: If it is none.
    """
    found = 0.0
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        found = float(value)
    elif isinstance(value, str) and (match := _RATE.fullmatch(value)) is not None:
        number, times, unit = match.groups()
        found = float(number) / (max(1, int(times or 1)) * _UNITS[unit])
    if not (math.isfinite(found) and 0 < found <= _FASTEST):
        message = f'{what} must be a rate such as "100/m", "5/s" or "20/15m", or a number a second, got {value!r}.'
        raise DefinitionError(message)
    return found


def show_rate(rate: float) -> str:
    """Write a rate as a person would: in the shortest time in which it is a whole number, where there is one."""
    for unit, seconds in _UNITS.items():
        number = rate * seconds
        if number >= 1 and abs(number - round(number)) < 1e-6 * number:  # what a division leaves
            return f"{round(number)}/{unit}"
    return f"{rate:g}/s"


def step_of(rate: float) -> int:
    """Return the microseconds between two tokens; rounded such that there are never more than the rate."""
    return max(1, math.ceil(SECOND / rate))


def check_name(name: Any) -> str:
    """Refuse what cannot be a limit's name.

    Raises:
        DefinitionError: If it is empty, no text, or would be taken for something else.
    """
    if not isinstance(name, str) or not name or name.startswith(OVERLAP) or "[" in name:
        message = f"Limit(name=...) must be a name without '[' that does not begin with {OVERLAP!r}, got {name!r}."
        raise DefinitionError(message)
    return name


def check_weight(share: Any, weight: Any, what: str) -> None:
    """Refuse a weight that is none.

    Raises:
        DefinitionError: If it is no number above 0, or its share no text.
    """
    if (
        not isinstance(share, str)
        or isinstance(weight, bool)
        or not isinstance(weight, (int, float))
        or not _LEAST_WEIGHT <= weight <= 1 / _LEAST_WEIGHT
    ):
        message = (
            f"{what} gives a value of the parameter, a text, its weight, 0.001 to 1000, got {share!r}: {weight!r}."
        )
        raise DefinitionError(message)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
