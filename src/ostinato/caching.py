"""When a task's earlier result, of any run, is taken instead of computing it.

```python
@task(cache=Cache(expires=timedelta(hours=1), key=inputs + source - "logger"))
def fetch(city: str, logger: Logger) -> dict: ...
```

A key policy says what must be the same: the task always, then the `inputs`, its `source`, the flow's
`parameters`, the `flow`; policies add, and arguments subtract by name. An input that cannot be fingerprinted
(a client, a lock) means no caching at all, and the reason names the argument: leaving it out in silence would
hand out results of other inputs. Subtract it where it does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal

from ostinato.errors import DefinitionError, nearest
from ostinato.fingerprint import Print, combine, fingerprint

_Kind = Literal["inputs", "source", "parameters", "flow", "custom"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheContext:
    """The call that a key is made for."""

    task: str
    """The task's key."""
    inputs: Mapping[str, Any]
    """The arguments by name; each a value, or its `Print` where that is known already."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """The flow's parameters by name, likewise."""
    code: str | None = None
    """The fingerprint of the task's code."""
    flow: str | None = None
    """The flow's name."""


KeyFunction = Callable[[CacheContext], str | None]
"""Makes a key of one's own: equal where the result may be shared; None for no caching."""


@dataclass(frozen=True, slots=True)
class CacheKey:
    """A key, or why there is none."""

    value: str | None
    """32 hexadecimal digits."""
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    """One thing that must be the same."""

    kind: _Kind
    without: frozenset[str] = frozenset()
    function: KeyFunction | None = None


class _NoKeyError(Exception):
    """There is no key, and this is why. Does not leave this module."""


@dataclass(frozen=True, slots=True)
class KeyPolicy:
    """What must be the same for a result to be taken again. Made by `+` and `-` from the four below."""

    parts: tuple[_Part, ...]

    def __add__(self, other: KeyPolicy | KeyFunction) -> KeyPolicy:
        """Ask for both; any function that makes a key will do."""
        merged = list(self.parts)
        for part in _policy(other).parts:
            _merge(merged, part)
        return KeyPolicy(tuple(merged))

    def __radd__(self, other: KeyFunction) -> KeyPolicy:
        """Put a function first."""
        return _policy(other) + self

    def __sub__(self, other: str | Collection[str] | KeyPolicy) -> KeyPolicy:
        """Leave out an argument by name, several, or a whole policy.

        Names are those of the task's arguments where the policy looks at `inputs`, else of the flow's
        parameters.

        Raises:
            DefinitionError: There is nothing to take it from.
        """
        if isinstance(other, KeyPolicy):
            return self._less(other)
        names = frozenset([other] if isinstance(other, str) else other)
        for kind in ("inputs", "parameters"):
            if any(part.kind == kind for part in self.parts):
                changed = [replace(p, without=p.without | names) if p.kind == kind else p for p in self.parts]
                return KeyPolicy(tuple(changed))
        message = f"{self!r} - {other!r}: only `inputs` and `parameters` have names that can be left out."
        raise DefinitionError(message)

    def __repr__(self) -> str:
        """Show it as it is written."""
        shown = []
        for part in self.parts:
            name = getattr(part.function, "__qualname__", "a function") if part.function else part.kind
            less = "".join(f" - {name!r}" for name in sorted(part.without))
            shown.append(f"({name}{less})" if less and len(self.parts) > 1 else f"{name}{less}")
        return " + ".join(shown)

    def check(self, signature: Collection[str]) -> None:
        """Check, when a task is defined, that the arguments left out are its own.

        Args:
            signature: The names of the task's arguments.

        Raises:
            DefinitionError: One is not; the message names the nearest.
        """
        for part in self.parts:
            for name in sorted(part.without - frozenset(signature)) if part.kind == "inputs" else ():
                known = f"its arguments are {', '.join(signature)}" if signature else "it has no arguments"
                message = f"Cache(key={self!r}) leaves out {name!r}, which the task does not take; {known}."
                raise DefinitionError(message + nearest(name, signature))

    def compute(self, context: CacheContext) -> str | None:
        """Make the key, 32 hexadecimal digits; None for no caching."""
        return self.resolve(context).value

    def resolve(self, context: CacheContext) -> CacheKey:
        """Make the key, or say why there is none."""
        try:
            parts = [piece for part in self.parts for piece in _pieces(part, context)]
        except _NoKeyError as error:
            return CacheKey(None, str(error))
        return CacheKey(combine("cache", context.task, *parts).hex())

    def _less(self, other: KeyPolicy) -> KeyPolicy:
        kinds = {(part.kind, part.function) for part in other.parts}
        left = tuple(part for part in self.parts if (part.kind, part.function) not in kinds)
        if len(left) == len(self.parts):
            message = f"({self!r}) - ({other!r}): the first does not contain the second."
            raise DefinitionError(message)
        if not left:
            message = f"({self!r}) - ({other!r}) leaves nothing: the task would have one result for all calls."
            raise DefinitionError(message)
        return KeyPolicy(left)


inputs = KeyPolicy((_Part("inputs"),))
"""The task's arguments, by content."""
source = KeyPolicy((_Part("source"),))
"""The task's code: changing it makes every earlier result a miss."""
parameters = KeyPolicy((_Part("parameters"),))
"""The flow's parameters."""
flow = KeyPolicy((_Part("flow"),))
"""The flow's name: results are not shared with other flows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """Take an earlier result of this task where its key is the same.

    Args:
        key: What must be the same: a policy, or a function from a `CacheContext` to a key or None.
        expires: How long a result is taken for; without end by default.
        refresh: Compute anyway, and keep the new result for others.
    """

    key: KeyPolicy | KeyFunction = inputs
    expires: timedelta | None = None
    refresh: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        _policy(self.key)
        if self.expires is None:
            return
        if not isinstance(self.expires, timedelta):
            message = f"Cache(expires={self.expires!r}): expected a timedelta, such as timedelta(hours=1)."
            raise DefinitionError(message)
        if self.expires <= timedelta(0):
            message = f"Cache(expires={self.expires!r}) must be longer than nothing."
            raise DefinitionError(message)

    @property
    def policy(self) -> KeyPolicy:
        """The key as a policy."""
        return _policy(self.key)

    def check(self, signature: Collection[str]) -> None:
        """Check, when a task is defined, that the arguments left out are its own. See `KeyPolicy.check`."""
        self.policy.check(signature)

    def compute(self, context: CacheContext) -> str | None:
        """Make the key of a call; None for no caching. `policy.resolve` says why."""
        return self.policy.compute(context)


def _policy(key: Any) -> KeyPolicy:
    if isinstance(key, KeyPolicy):
        return key
    if callable(key):
        return KeyPolicy((_Part("custom", function=key),))
    message = (
        f"A cache key is made by a policy such as `inputs + source`, or a function of a CacheContext; got {key!r}. "
        "Import the policies from ostinato.caching."
    )
    raise DefinitionError(message)


def _merge(parts: list[_Part], part: _Part) -> None:
    """Add a part; of two of a kind, what both leave out is left out."""
    for place, own in enumerate(parts):
        if (own.kind, own.function) == (part.kind, part.function):
            parts[place] = replace(own, without=own.without & part.without)
            return
    parts.append(part)


def _pieces(part: _Part, context: CacheContext) -> list[bytes | str]:
    if part.kind == "inputs":
        return ["inputs", *_values(context.inputs, part.without, "The argument")]
    if part.kind == "parameters":
        return ["parameters", *_values(context.parameters, part.without, "The flow's parameter")]
    if part.kind == "custom":
        return ["custom", _custom(part.function, context)]
    found = context.code if part.kind == "source" else context.flow
    if found is None:
        raise _NoKeyError("The code is not known." if part.kind == "source" else "There is no flow.")
    return [part.kind, found]


def _values(values: Mapping[str, Any], without: frozenset[str], what: str) -> list[bytes | str]:
    pieces: list[bytes | str] = []
    for name in sorted(values.keys() - without):
        value = values[name]
        found = value if isinstance(value, Print) else fingerprint(value)
        if found.opaque:
            kind = "" if value is found else f" (a {type(value).__qualname__})"
            raise _NoKeyError(
                f"{what} {name!r}{kind} has something in it that cannot be compared by content; "
                f"leave it out with `- {name!r}` if the result does not depend on it."
            )
        pieces += [name, found.digest]
    return pieces


def _custom(function: KeyFunction | None, context: CacheContext) -> str:
    made: Any = function(context) if function else None
    name = getattr(function, "__qualname__", repr(function))
    if made is None:
        raise _NoKeyError(f"{name} gave no key.")
    if not isinstance(made, str):
        message = f"The cache key function {name} must return a str or None, it returned {made!r}."
        raise DefinitionError(message)
    return made
