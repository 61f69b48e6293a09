"""Gives queued runs to the workers that wait for them.

```
worker ──claim(offer, wait)──► polls, oldest first ──┐
routes, store.watch, survey ──hint()────────────────►├─► one store.claim a poll, in a thread ──► answers
```

Workers wait here, not in the database: a hint that runs were queued costs one claim for each poll that it could
serve, and nothing when nobody waits. A poll is answered at once with what it got.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from ostinato.errors import OstinatoError
from ostinato.loops.loop import call_on
from ostinato.resources import amounts_of, fits
from ostinato.work import Offer, ProcessEnd

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ostinato.store.store import Store
    from ostinato.work import Claim

    Write = Callable[[Callable[[], Any]], Awaitable[Any]]

_log = logging.getLogger("ostinato.internal")
_UNDELIVERED = ProcessEnd(reason="drained", message="the worker had stopped listening before it could be told")


@dataclass(slots=True, eq=False)
class _Poll:
    """A worker that waits for runs."""

    worker_id: str
    offer: Offer
    answer: asyncio.Future[list[Claim]]
    is_over: bool = False
    """Its time is up: it is answered as soon as it is certain that nothing is being claimed for it."""
    is_tried: bool = False
    """A claim was made for it, at least once."""


class Dispatcher:
    """The polls that wait at this server. All but `hint` belongs to one event loop.

    Args:
        store: Where runs are queued.
        write: Makes a short write to the store without holding the loop for long; by default in a thread.
    """

    def __init__(self, store: Store, write: Write = asyncio.to_thread) -> None:
        self._store, self._write = store, write
        self._polls: list[_Poll] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._round: asyncio.Task[None] | None = None
        self._is_asked = False
        self._is_hinted = False
        self._closed = False
        self._known: set[str] = set()
        self._returning: asyncio.Task[None] | None = None
        self.heard: Callable[[], None] = lambda: None
        """Called, from any thread, with every hint: more than runs may have changed."""
        self.met: Callable[[], None] = lambda: None
        """Called when a worker asks for the first time."""

    @property
    def waiting(self) -> int:
        """How many polls wait."""
        return len(self._polls)

    async def claim(self, worker_id: str, offer: Offer, wait: float) -> list[Claim]:
        """Claim for a worker; wait for the first run so many seconds at most.

        A worker has one poll: what it asked before is answered with nothing, for it has stopped listening to that.
        Cancel it when the worker is gone: what was claimed for it meanwhile goes back to the queue.

        Raises:
            StaleEpochError: If the worker's lease has ended.
            StoreUnavailableError: If the database cannot be reached.
        """
        if self._closed or offer.slots < 1:
            return []
        self._loop = asyncio.get_running_loop()
        self._meet(worker_id)
        poll = _Poll(worker_id, offer, self._loop.create_future(), is_over=wait <= 0)
        self._polls.append(poll)
        self._look()
        try:
            if not poll.is_over and not (await asyncio.wait([poll.answer], timeout=wait))[0]:
                poll.is_over = True
                self._look()
            return await poll.answer
        except asyncio.CancelledError:
            self._withdraw(poll)
            raise
        finally:
            self._polls.remove(poll)

    def hint(self) -> None:
        """Say that runs may have been queued or have changed otherwise; from any thread."""
        self.heard()
        self.look()

    def look(self) -> None:
        """Claim for those who wait; from any thread."""
        if self._loop is not None and self._polls and not self._is_asked:
            self._is_asked = True
            call_on(self._loop, self._look)

    async def close(self) -> None:
        """Answer all that wait with nothing, and take no more; what was claimed for them goes back."""
        self._closed = True
        for poll in self._polls:
            _answer(poll, [])
        under_way = [task for task in (self._round, self._returning) if task is not None]
        if under_way:
            await asyncio.wait(under_way)

    def _meet(self, worker_id: str) -> None:
        if worker_id not in self._known:
            self._known.add(worker_id)
            self.met()
        for other in self._polls:
            if other.worker_id == worker_id:
                _answer(other, [])

    def _withdraw(self, poll: _Poll) -> None:
        """Take back what a poll was given that has ended before it could tell anybody."""
        if poll.answer.cancel() or poll.answer.cancelled() or poll.answer.exception() is not None:
            return
        self._returning = asyncio.get_running_loop().create_task(
            self._give_back(poll.worker_id, poll.answer.result()), name="ostinato-give-back"
        )

    def _look(self) -> None:
        self._is_asked = False  # whoever asks from now on may have seen more than the claim that begins here
        self._is_hinted = True
        if self._round is None and self._polls and not self._closed:
            self._round = asyncio.get_running_loop().create_task(self._serve())

    async def _serve(self) -> None:
        try:
            while self._is_hinted and not self._closed:
                self._is_hinted = False
                await self._serve_once()
        finally:
            self._round = None

    async def _serve_once(self) -> None:
        """Claim for each poll that waits, unless one that could take more was left with nothing to take."""
        polls = [poll for poll in self._polls if not poll.answer.done()]
        empty: list[Offer] = []
        for place, poll in enumerate(polls):
            is_worth_it = not poll.answer.done() and not (poll.is_over and poll.is_tried)
            if is_worth_it and not any(_covers(known, poll.offer) for known in empty):
                share = -(-poll.offer.slots // (len(polls) - place))  # so that the first does not take all
                claims = await self._claim(poll, msgspec.structs.replace(poll.offer, slots=share))
                if claims is not None and len(claims) < share:
                    empty.append(_left(poll.offer, claims))
                if claims and not _answer(poll, claims):
                    await self._give_back(poll.worker_id, claims)
            if poll.is_over:
                _answer(poll, [])

    async def _claim(self, poll: _Poll, offer: Offer) -> list[Claim] | None:
        poll.is_tried = True
        try:
            found: list[Claim] = await self._write(lambda: self._store.claim(poll.worker_id, offer))
        except Exception as error:  # it is the worker's to hear, whatever it is; the other polls go on
            if not poll.answer.done():
                poll.answer.set_exception(error)
            return None
        return found

    async def _give_back(self, worker_id: str, claims: Sequence[Claim]) -> None:
        """Put runs back that nobody was told of, in order."""
        for claim in claims:
            give = partial(self._store.give_back, worker_id, claim.run.id, claim.run.epoch, _UNDELIVERED)
            try:
                await self._write(give)
            except OstinatoError as error:
                _log.warning(
                    "Run %s was claimed for a worker that is gone and is not back yet: %s", claim.run.id, error
                )
        self._look()


def _answer(poll: _Poll, claims: list[Claim]) -> bool:
    if poll.answer.done():
        return False
    poll.answer.set_result(claims)
    return True


def _left(offer: Offer, claims: Sequence[Claim]) -> Offer:
    """Return what an offer still has when these are taken from it: nothing that waits fits in it."""
    free = dict(offer.resources)
    for claim in claims:
        for name, amount in amounts_of(claim.run.resources).items():
            free[name] = free.get(name, 0.0) - amount
    return msgspec.structs.replace(offer, resources=free)


def _covers(known: Offer, other: Offer) -> bool:
    """Tell whether what the one could not take the other cannot take either."""
    return set(other.pools) <= set(known.pools) and fits(other.resources, known.resources)
