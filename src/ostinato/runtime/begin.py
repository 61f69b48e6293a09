"""From a call whose futures have all ended to a task run: identified, and found again or made anew."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import msgspec

from ostinato import telemetry
from ostinato.authoring.flow import Flow
from ostinato.authoring.spec import Spec
from ostinato.authoring.task import TaskOptions
from ostinato.caching import Cache, CacheContext
from ostinato.clock import SECOND
from ostinato.engine.clearing import format_ranges
from ostinato.engine.identity import call_fingerprint, keyed_fingerprint, task_run_id
from ostinato.engine.lifecycle import live
from ostinato.engine.memo import is_replayable, may_keep, succeed_to
from ostinato.engine.rules import Rules
from ostinato.limits import ids_of, in_order
from ostinato.records import TaskRun
from ostinato.runtime.arguments import prepare
from ostinato.runtime.call import Call
from ostinato.runtime.making import pack
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ostinato.context import Frame
    from ostinato.engine.rules import Gate
    from ostinato.future import Settled
    from ostinato.limits import Passing
    from ostinato.runtime.arguments import Arguments
    from ostinato.runtime.runner import Runner

_PLAIN_RULES = Rules()


class Asked(msgspec.Struct, frozen=True, gc=False):
    """What is called: a task, a child flow, a wait, or a journaled value."""

    key: str
    spec: Spec
    options: TaskOptions
    kind: str = "task"
    flow: Flow[Any, Any] | None = None
    map_index: int | None = None
    life: Any = None
    """Of a wait, or of what is emitted: makes its life of its row and an attempt that is not on record."""
    wanted: Any = None
    """What a wait waits for, a `runtime.wanted.Wanted`."""


def begin(runner: Runner, asked: Asked, values: tuple[Any, ...], lazy: Sequence[Any], frame: Frame) -> Settled | Call:
    """Identify a call: replay it from the memo, or make it a task run to live.

    Args:
        runner: The pass it belongs to.
        asked: What is called.
        values: One per parameter.
        lazy: The futures and maps among them; all have ended.
        frame: The body that calls.
    """
    options = asked.options
    arguments = prepare(values, lazy, options.wait_for, runner.recorder.producer)
    if options.when != "all_succeeded":
        for future in (*lazy, *options.wait_for):
            future.looked_at = True  # the trigger rule sees to its failure
    own_key = options.key
    mark = (
        keyed_fingerprint(asked.key, own_key)
        if own_key
        else call_fingerprint(asked.key, [found.digest for found in arguments.prints])
    )
    n = runner.count(frame, mark)
    identity = task_run_id(runner.run.lineage, frame.task_run_id, mark, n)
    if asked.life is not None and identity in runner.outside.kept:
        return runner.outside.kept[identity]
    found = runner.memo.take(identity)
    if found is not None:
        settled = _remember(runner, found, arguments)
        if settled is not None:
            return settled
    key = own_key or (mark.hex()[:12] if n == 0 else f"{mark.hex()[:12]}#{n}")
    row = _new_row(runner, asked, arguments, frame, identity, key)
    earlier = None if found is None else succeed_to(row, found)
    row.inputs = runner.recorder.inputs(asked.spec.names, arguments)
    old_fp = None if found is None else found.result_fp
    life = (
        live(row, _rules(runner, asked, arguments), arguments.upstream, earlier=earlier, old_fp=old_fp)
        if asked.life is None
        else asked.life(row, earlier)
    )
    if row.due_at is not None:  # it goes on with a delay
        runner.journal.note(row)
        runner.under_way[row.seq] = row
    named = dict(zip(asked.spec.names, arguments.values, strict=True)) if options.pool is not None else {}
    parcel = None if options.pool is None else pack(runner, asked.key, named)
    return Call(
        asked.spec, options, row, arguments, life, fresh=found is None, flow=asked.flow, parcel=parcel,
        wanted=asked.wanted,
    )  # fmt: skip


def _new_row(runner: Runner, asked: Asked, arguments: Arguments, frame: Frame, identity: str, key: str) -> TaskRun:
    return TaskRun(
        run_id=runner.run.id,
        seq=runner.next_seq(),
        id=identity,
        parent_seq=frame.seq,
        kind=asked.kind,
        task=asked.key,
        key=key,
        map_index=asked.map_index,
        state=State.RUNNING,
        epoch=runner.run.epoch,
        created_at=runner.clock.now(),
        upstream=format_ranges(arguments.seqs) if arguments.seqs else None,
        code=asked.spec.code,
        critical=asked.options.critical,
    )


def _remember(runner: Runner, found: TaskRun, arguments: Arguments) -> Settled | None:
    """Give what is on record for a call that was found again, or None if it must run."""
    keep = may_keep(found, upstream_changed=any(settled.changed for settled in arguments.upstream))
    if not keep and not is_replayable(found):
        return None
    if keep or found.orphaned:
        found = msgspec.structs.replace(
            found,
            state=State.SUCCEEDED if keep else found.state,
            reason="unchanged" if keep else found.reason,
            orphaned=False,
            epoch=runner.run.epoch,
        )
        if found.run_id == runner.run.id:
            runner.journal.note(found)
    settled = runner.recorder.settled(found)
    if settled is None:
        return None
    runner.memo.cover(found.seq)
    runner.replayed += 1
    runner.recorder.produced(found.result_fp, found.seq, len(found.result or b""))
    telemetry.emit("task_run.replayed", (runner, found))
    return settled


def _rules(runner: Runner, asked: Asked, arguments: Arguments) -> Rules:
    options = asked.options
    if not (
        options.retry or options.limits or options.cache or options.pool or options.resources
        or options.when != "all_succeeded"
    ):  # fmt: skip
        return _PLAIN_RULES
    named = dict(zip(asked.spec.names, arguments.values, strict=True))
    cache = options.cache
    return Rules(
        retry=options.retry,
        limits=_limits(runner, options, named) if options.limits else (),
        gates=tuple(_room(runner, options)),
        pool=options.pool,
        when=options.when,
        cache_key=None if cache is None else _cache_key(runner, asked, cache, named),
        cache_refresh=cache is not None and cache.refresh,
        cache_expires=None if cache is None or cache.expires is None else round(cache.expires.total_seconds() * SECOND),
    )


def _limits(runner: Runner, options: TaskOptions, named: dict[str, Any]) -> tuple[Passing, ...]:
    """Say which limits a task run passes; a slot that its run holds already counts for it too."""
    own = ids_of(runner.run.gates)
    passings = [limit.passing(named, priority=runner.run.priority) for limit in options.limits]
    return tuple(passing for passing in in_order(passings) if passing.gate not in own)


def _room(runner: Runner, options: TaskOptions) -> Iterator[Gate]:
    """Name what a task run takes of what its run has; what is sent to another pool takes nothing here."""
    if options.resources is None or options.pool is not None:
        return
    for name, amount in sorted(options.resources.amounts.items()):
        room = runner.room.get(name)
        if room:
            yield f"resource:{runner.run.id}:{name}", room, min(amount, room)


def _cache_key(runner: Runner, asked: Asked, cache: Cache, named: dict[str, Any]) -> str | None:
    found = cache.policy.resolve(
        CacheContext(
            task=asked.key,
            inputs=named,
            parameters=runner.parameters,
            code=asked.spec.code,
            flow=runner.flow.name,
        )
    )
    if found.value is None and asked.key not in runner.uncached:
        runner.uncached.add(asked.key)
        runner.log(logging.WARNING, "ostinato", f"{asked.key} is not cached: {found.reason}")
    return found.value
