"""From the arguments of a call to what the engine needs: values, fingerprints, and what they depend on.

Futures are found also inside lists, tuples, sets and dicts. For its fingerprint a future counts as the fingerprint of
its result, which is known already; for what is recorded as input, as a reference to the task run it came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ostinato.engine.clearing import format_ranges
from ostinato.errors import ResultError
from ostinato.fingerprint import Known, Print, combine, fingerprint
from ostinato.future import Future, MapResults, Settled
from ostinato.outcomes import Cancel, Skip
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_ATOMS = frozenset({str, int, float, bool, type(None), bytes})
_HOLDERS = frozenset({list, tuple, dict, set, frozenset})
_LAZY = (Future, MapResults)


class FromTaskRun(msgspec.Struct, frozen=True):
    """Stands in recorded inputs for the result of another task run of the same run."""

    seq: int


class FromMap(msgspec.Struct, frozen=True):
    """Stands in recorded inputs for the results of a map."""

    seqs: str


class LeftOut(msgspec.Struct, frozen=True):
    """Stands for a parameter that a start of a flow does not give: its deployment has it, or the flow itself."""


class Arguments(msgspec.Struct):
    """The arguments of one call, ready."""

    values: tuple[Any, ...]
    prints: list[Print]
    """The fingerprints of the values; of what came from a future, that of the task run's result."""
    recorded: tuple[Any, ...]
    """The values as they are recorded: results of other task runs by reference."""
    size: int
    upstream: Sequence[Settled]
    seqs: Sequence[int]
    """The task runs that this call depends on."""


def pending(values: Iterable[Any]) -> list[Future[Any] | MapResults[Any]]:
    """Find the futures and maps in some arguments, ended or not."""
    found: list[Any] = []
    for value in values:
        kind = type(value)
        if kind in _ATOMS:
            continue
        if kind in _HOLDERS:
            _search(value, found)
        elif isinstance(value, _LAZY):
            found.append(value)
    return found


def _search(holder: Any, found: list[Any]) -> None:
    items = holder.values() if type(holder) is dict else holder
    kinds = set(map(type, items))
    if kinds <= _ATOMS:
        return
    for item in items:
        kind = type(item)
        if kind in _HOLDERS:
            _search(item, found)
        elif isinstance(item, _LAZY):
            found.append(item)


def prepare(
    values: tuple[Any, ...], lazy: Sequence[Any], ordered: Sequence[Any], producer: Callable[[bytes], int | None]
) -> Arguments:
    """Make arguments ready whose futures have all ended.

    Args:
        values: One per parameter.
        lazy: The futures and maps in them, as `pending` found them.
        ordered: Futures that are waited for without their data.
        producer: Names the task run of this run whose result has that fingerprint, if it is known.
    """
    upstream, seqs = _depend((*lazy, *ordered)) if lazy or ordered else ((), ())
    prints, recorded, size = [], [], 0
    replaced = tuple(_printable(value) for value in values) if lazy else values
    for place, value in enumerate(replaced):
        found = fingerprint(value)
        if type(value) is Known:  # a future is who its value is
            found = msgspec.structs.replace(found, digest=value.digest)
        prints.append(found)
        kept: Any = value
        if lazy and value is not values[place]:
            kept = _recordable(values[place])
        elif found.size > _WORTH_A_REFERENCE:
            seq = producer(found.digest)
            if seq is not None:
                seqs = (*seqs, seq)
                kept = FromTaskRun(seq)
        if kept is value:
            size += found.size
        recorded.append(kept)
    taken = tuple(_value(value) for value in values) if lazy else values
    return Arguments(taken, prints, tuple(recorded), size, upstream, seqs)


_WORTH_A_REFERENCE = 64
"""Results of fewer bytes are too common to say where a value came from."""


def worth_a_reference(size: int) -> bool:
    """Tell whether a result is large enough to be told from others by its content."""
    return size > _WORTH_A_REFERENCE


def _depend(futures: Iterable[Any]) -> tuple[list[Settled], list[int]]:
    """Say how the things that a call depends on ended; a map counts as one success beside its failures."""
    upstream: list[Settled] = []
    seqs: list[int] = []
    for future in futures:
        if not isinstance(future, MapResults):
            upstream.append(future.peek())
            seqs.append(upstream[-1].seq)
            continue
        seqs.extend(future.seqs)
        bad = list(future.failures())
        upstream.extend(bad)
        if len(bad) < len(future.seqs):
            upstream.append(Settled(task=future.task, seq=-1, state=State.SUCCEEDED, changed=future.changed))
    return upstream, [seq for seq in seqs if seq >= 0]


def _map(value: Any, change: Callable[[Any], Any]) -> Any:
    """Rebuild a value with its futures changed, leaving alone what holds none."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    if isinstance(value, _LAZY):
        return change(value)
    if kind not in _HOLDERS or not pending([value]):
        return value
    if kind is dict:
        return {key: _map(item, change) for key, item in value.items()}
    return kind(_map(item, change) for item in value)


def _printable(value: Any) -> Any:
    return _map(value, _known)


def _known(future: Any) -> Known:
    if isinstance(future, MapResults):
        return Known(combine("map", future.fps))
    settled = future.peek()
    return Known(settled.fp or combine("ended", settled.state, settled.task))


def _recordable(value: Any) -> Any:
    def refer(future: Any) -> Any:
        if isinstance(future, MapResults):
            return FromMap(format_ranges(future.seqs) or "")
        return FromTaskRun(future.peek().seq)

    return _map(value, refer)


def _value(value: Any) -> Any:
    return _map(value, _unwrap)


def resolved(value: Any) -> Any:
    """Replace the futures in what a body returns, which have all ended, by their values; raise the first failure."""
    return _map(value, lambda future: future.result())


def _unwrap(future: Any) -> Any:
    """Give the value; for what did not succeed (a trigger rule let the call run) its exception or outcome."""
    if isinstance(future, MapResults):
        return [_of(settled) if isinstance(settled, Settled) else settled for settled in future.raw()]
    return _of(future.peek())


def _of(settled: Settled) -> Any:
    if settled.state is State.SUCCEEDED or isinstance(settled.value, (Skip, Cancel)):
        return settled.value
    try:
        return settled.unwrap()
    except BaseException as error:  # it stands in for the value
        return error


def encode_inputs(names: Sequence[str], arguments: Arguments, dump: Callable[[Any], bytes], limit: int) -> bytes | None:
    """Encode the inputs of a call as they are recorded: None where they are too large or cannot be stored.

    Args:
        names: The parameters.
        arguments: Of the call.
        dump: Encodes any value.
        limit: Bytes.
    """
    if arguments.size > limit:
        return None
    raw = [
        msgspec.Raw(found.plain)
        for found, kept in zip(arguments.prints, arguments.recorded, strict=True)
        if found.plain is not None and type(kept) is not FromTaskRun
    ]
    if len(raw) == len(names):
        return b"m" + msgspec.msgpack.encode(dict(zip(names, raw, strict=True)))
    try:
        return dump(dict(zip(names, arguments.recorded, strict=True)))
    except ResultError:
        return None


def items_of(
    args: tuple[Any, ...], kwargs: dict[str, Any], is_mapped: Callable[[Any], bool], plain: Callable[[Any], Any]
) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Yield the arguments of each item of a map, lazily.

    Args:
        args: By position.
        kwargs: By name.
        is_mapped: Whether an argument is mapped over.
        plain: Takes an argument that is the same for all out of its wrapping.

    Raises:
        ValueError: If the iterables are of different lengths.
    """
    taken = [(is_mapped(arg), arg) for arg in args]
    named = {name: (is_mapped(arg), arg) for name, arg in kwargs.items()}
    sources = [iter(arg) for mapped, arg in (*taken, *named.values()) if mapped]
    for items in zip(*sources, strict=True):
        left = iter(items)
        yield (
            tuple(next(left) if mapped else plain(arg) for mapped, arg in taken),
            {name: next(left) if mapped else plain(arg) for name, (mapped, arg) in named.items()},
        )
