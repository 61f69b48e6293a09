"""Carries out what automations have come to, each step by itself, as often as it is worth.

```
due firings ─► claimed: next_at moves on by a lease ─► each due step in a thread of its own ─► progress, one by one
```

A firing is claimed by moving its `next_at`; of two servers one succeeds, and where that one dies, the firing is due
again when the lease is over. Steps that hang are left behind: their threads end when they end, and nobody waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from ostinato.clock import SECOND
from ostinato.errors import OstinatoError, StoreError
from ostinato.loops.loop import Loop
from ostinato.runtime.delivering import Delivery, DeliveryError, Order, is_permanent
from ostinato.runtime.firing import Progress, next_of, progress_of, steps, with_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ostinato.automations.actions import Step
    from ostinato.loops.loop import Host
    from ostinato.timing import Firing
    from ostinato.work import Survey

T = TypeVar("T")
DELAYS: Final = (5.0, 20.0, 60.0, 300.0, 900.0)
"""Seconds before each further try; then it has failed."""
PATIENCE: Final = 30.0
"""Seconds that a step may take; then it counts as failed, whatever becomes of it."""
_LEASE: Final = 90.0
_AT_ONCE: Final = 16
"""Firings that are carried out side by side."""
_MOST_STUCK: Final = 64
"""Steps that may hang at once; of further ones nothing is begun."""
_NOTE_EVERY: Final = 1.0
_NOTES: Final = 30
_LONGEST: Final = 1000
_NEVER: Final = float("inf")
_log = logging.getLogger("ostinato.internal")


class Notifier:
    """Looks for firings with something to do when the automator or a survey says so.

    Args:
        host: The server.
        patience: Seconds that a step may take.
        delivery: What carries out one, instead of the usual.
    """

    def __init__(self, host: Host, *, patience: float = PATIENCE, delivery: Delivery | None = None) -> None:
        self._host, self._patience = host, patience
        self._delivery = delivery or Delivery(host.store, host.results)
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._due = _NEVER
        self._is_asked = False
        self.stuck = 0
        """How many steps hang."""
        self.loop = Loop("notifier", self.look, every=_NEVER, first=_NEVER)

    def heard(self, survey: Survey) -> None:
        """Set the alarm by what a survey saw."""
        if survey.next_alarm_at is not None:
            self._due = min(self._due, time.monotonic() + max(0, survey.next_alarm_at - survey.now) / SECOND)
            self.loop.wake()

    def fired(self) -> None:
        """Look at once; from any thread."""
        self._is_asked = True
        self.loop.wake()

    async def look(self) -> float:
        """Begin what is due; say in how many seconds more will be."""
        now = time.monotonic()
        if not self._is_asked and now < self._due:
            return self._due - now
        room = _AT_ONCE - len(self._busy)
        if room <= 0:
            return _NEVER  # whoever ends asks again
        self._is_asked, self._due = False, _NEVER
        store = self._host.store
        found = await self._host.call(lambda: store.list_firings(due_before=store.now(), limit=room + len(self._busy)))
        fresh = [firing for firing in found if firing.id not in self._busy]
        for firing in fresh[:room]:
            self._busy[firing.id] = asyncio.create_task(self._run(firing), name=f"ostinato-firing-{firing.id}")
        return 0.0 if len(fresh) > room else _NEVER

    async def stop(self) -> None:
        """End it; steps under way are left to their leases."""
        await self.loop.stop()
        for task in self._busy.values():
            task.cancel()
        await asyncio.gather(*self._busy.values(), return_exceptions=True)

    async def settled(self) -> None:
        """Wait until nothing is under way."""
        while self._busy:
            await asyncio.gather(*self._busy.values(), return_exceptions=True)

    async def _run(self, firing: Firing) -> None:
        try:
            await self._carry_out(firing)
        except OstinatoError as error:
            _log.warning("Firing %s of %r is tried again later: %s", firing.id, firing.automation, error)
        except Exception:  # a defect in one must not end the others
            _log.exception("Firing %s of %r could not be carried out.", firing.id, firing.automation)
        finally:
            self._busy.pop(firing.id, None)
            self.fired()

    async def _carry_out(self, firing: Firing) -> None:
        host = self._host
        data = msgspec.json.decode(firing.data)
        plan, progress = steps(data.get("then", [])), progress_of(firing)
        now = await host.call(host.store.now)
        due = _begin(plan, progress, now, is_acknowledged=firing.acknowledged_at is not None)
        lease = now + round(_LEASE * SECOND) if due else next_of(progress)
        claimed = with_progress(firing, progress, lease)
        if not await host.call(lambda: host.store.put_firing(claimed, next_at=firing.next_at)):
            return  # another server has it
        if not due:
            return
        values = self._values(data["values"])
        noting = _Noting(host, claimed, progress)
        await asyncio.gather(*(self._step(noting, _order(claimed, plan, progress, index, values)) for index in due))
        await noting.end()

    async def _step(self, noting: _Noting, order: Order) -> None:
        """Carry out one step, and note at once what came of it."""
        changes: dict[str, Any]
        try:
            note = await self._in_thread(lambda: self._delivery.carry_out(order))
            changes = {"state": "done", "note": note, "error": None, "due_at": None}
        except Exception as error:  # whatever a notifier raises is how the step failed
            changes = _failed(order, error, await self._host.call(self._host.store.now))
        await noting.note(order.index, changes)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Do something that may hang in a thread of its own; wait for it no longer than one has patience.

        Raises:
            DeliveryError: If it takes longer, or if too many hang already.
        """
        if self.stuck >= _MOST_STUCK:
            raise DeliveryError(f"{self.stuck} deliveries hang, so no more are begun.")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        is_late = threading.Event()

        def settle(value: T | None, error: BaseException | None) -> None:
            if is_late.is_set():
                self.stuck -= 1
            if not answer.done():
                answer.set_exception(error) if error is not None else answer.set_result(value)  # type: ignore[arg-type]

        def body() -> None:
            value, error = None, None
            try:
                value = work()
            except BaseException as raised:  # it is handed over, whatever it is
                error = raised
            with contextlib.suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(settle, value, error)

        threading.Thread(target=body, name="ostinato-delivery", daemon=True).start()
        done, _ = await asyncio.wait([answer], timeout=self._patience)
        if not done:
            is_late.set()
            self.stuck += 1
            answer.cancel()
            raise DeliveryError(f"No answer within {self._patience:g} s.")
        return answer.result()

    def _values(self, values: dict[str, Any]) -> dict[str, Any]:
        """Add what only the server knows."""
        base = self._host.settings.api.partition(",")[0].rstrip("/")
        url = f"{base}/runs/{values['run_id']}" if base and values.get("run_id") else ""
        return {**values, "url": url}


class _Noting:
    """Stores how far the steps of one firing have come, one after the other."""

    def __init__(self, host: Host, firing: Firing, progress: list[Progress]) -> None:
        self._host, self._firing, self._progress = host, firing, progress
        self._lock = asyncio.Lock()
        self._is_ours = True

    async def note(self, index: int, changes: dict[str, Any]) -> None:
        """Note what came of a step; the firing stays ours meanwhile."""
        async with self._lock:
            self._progress[index] = msgspec.structs.replace(self._progress[index], **changes)
            if any(step.state == "trying" for step in self._progress):
                await self._put(self._firing.next_at)

    async def end(self) -> None:
        """Let the firing go, with when it is due again."""
        if self._is_ours:
            await self._put(next_of(self._progress))

    async def _put(self, next_at: int | None) -> None:
        """Store it, with patience: what was done must be known, or it is done again."""
        changed = with_progress(self._firing, self._progress, next_at)
        store, before = self._host.store, self._firing.next_at
        for _ in range(_NOTES):
            try:
                self._is_ours = await self._host.call(lambda: store.put_firing(changed, next_at=before))
            except StoreError:
                await asyncio.sleep(_NOTE_EVERY)
            else:
                self._firing = changed if self._is_ours else self._firing
                self._host.changed()
                return


def _begin(plan: Sequence[Step], progress: list[Progress], now: int, *, is_acknowledged: bool) -> list[int]:
    """Mark the steps that are due as tried once more, and those that are needless; say which are to be carried out."""
    due = []
    for index, (step, known) in enumerate(zip(plan, progress, strict=True)):
        if not known.is_open or known.due_at is None:
            continue
        if step.escalates and is_acknowledged:
            progress[index] = msgspec.structs.replace(known, state="skipped", due_at=None, at=now)
        elif known.due_at <= now and known.attempts > len(DELAYS):
            error = known.error or "The server ended each time while it tried."
            progress[index] = msgspec.structs.replace(known, state="failed", due_at=None, at=now, error=error)
        elif known.due_at <= now:
            lease = now + round(_LEASE * SECOND)
            progress[index] = msgspec.structs.replace(
                known, state="trying", attempts=known.attempts + 1, at=now, due_at=lease
            )
            due.append(index)
    return due


def _order(
    firing: Firing, plan: Sequence[Step], progress: Sequence[Progress], index: int, values: dict[str, Any]
) -> Order:
    return Order(
        firing=firing.id,
        automation=firing.automation,
        index=index,
        attempt=progress[index].attempts,
        action=plan[index].action,
        values=copy.deepcopy(values),
        at=firing.at,
    )


def _failed(order: Order, error: Exception, now: int) -> dict[str, Any]:
    """Say what becomes of a step that has failed."""
    text = str(error) if isinstance(error, OstinatoError) else f"{type(error).__name__}: {error}"
    changes = {"error": text[:_LONGEST], "at": now}
    if is_permanent(error) or order.attempt > len(DELAYS):
        return {**changes, "state": "failed", "due_at": None}
    return {**changes, "state": "pending", "due_at": now + round(DELAYS[order.attempt - 1] * SECOND)}
