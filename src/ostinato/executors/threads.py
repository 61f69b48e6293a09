"""Run work in threads of this process: the executor that is used unless another is asked for.

The standard library's pool will not do: nested tasks that wait for each other deadlock in it, its work
cannot be stopped, and it makes a Future and a Condition for every item. Here an item is one object with
one lock, passed through a C queue.

What keeps it live: there are as many threads as items on hand, unless `slots` threads are unblocked
already. A thread that waits for other work does so in `with executor.blocked():` and does not count.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from ostinato.clock import Clock, SystemClock
from ostinato.errors import UsageError
from ostinato.executors.stopping import ClosedSignal, shield
from ostinato.executors.thread_work import ThreadWork
from ostinato.executors.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ostinato.context import Ended, Note

logger = logging.getLogger("ostinato.executors")

GRACE = 2.0
"""Seconds that stopped work has to end before it is abandoned."""

_NOT_OURS = nullcontext()
_pools = itertools.count(1)


class ThreadExecutor:
    """A pool of daemon threads, started when needed, whose work may be stopped and may block."""

    name = "threads"
    isolated = False

    def __init__(self, slots: int | None = None, *, grace: float = GRACE, clock: Clock | None = None) -> None:
        """Make the pool; no thread is started yet.

        Args:
            slots: How many threads run at once, not counting those in `blocked()`. By default four more
                than the machine has processors, at most 32.
            grace: Seconds that stopped work has to end before it is abandoned.
            clock: Tells when work ended that could not say so itself.
        """
        self.slots = slots or min(32, (os.cpu_count() or 1) + 4)
        self.grace = grace
        self.clock = clock or SystemClock()
        self.watcher = Watcher()
        self._lock = threading.Lock()
        self._queue: SimpleQueue[ThreadWork | None] = SimpleQueue()
        self._threads: set[_PoolThread] = set()
        self._blocked = 0
        self._on_hand = 0
        """How many items were submitted and are not done with."""
        self._closed = False
        self._names = (f"ostinato-{pool}-{number}" for pool in [next(_pools)] for number in itertools.count(1))

    def submit(
        self,
        work: Callable[[], Ended],
        done: Callable[[Ended], None],
        note: Callable[[Note], None] | None = None,  # noqa: ARG002  # the Protocol has it
    ) -> ThreadWork:
        """Run `work` in a thread of the pool when there is a slot, then call `done` there.

        The work sees the submitter's context variables, and keeps its own changes to them. Work that is
        stopped before it began has its `done` called by whoever stops it. `note` is not used: work in
        this process has better ways.

        Raises:
            UsageError: The executor is closed.
        """
        item = ThreadWork(self, work, done)
        with self._lock:
            if self._closed:
                message = "This executor is closed and takes no more work. Make a new one."
                raise UsageError(message)
            if len(self._threads) <= self._on_hand:
                self._grow(1)
            self._on_hand += 1
            self._queue.put(item)
        return item

    def blocked(self) -> AbstractContextManager[object]:
        """Give this thread's slot up while it waits for other work; does nothing in foreign threads."""
        thread = threading.current_thread()
        return thread if isinstance(thread, _PoolThread) and thread.pool is self else _NOT_OURS

    def close(self) -> None:
        """Stop what waits and what runs, and wait for its end a little longer than the grace. Idempotent."""
        with shield():  # it may be called by work of its own, which is stopped too
            self._close()

    def _close(self) -> None:
        with self._lock:
            self._closed = True
            threads = list(self._threads)
        for item in [*self._drain(), *(thread.item for thread in threads)]:
            if item is not None:
                item.stop(self._closing())
        for _ in threads:
            self._queue.put(None)
        deadline = time.monotonic() + self.grace + 0.5
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0, deadline - time.monotonic()))
        self.watcher.close()

    def serve(self, thread: _PoolThread) -> None:
        """Run items in `thread` until it is not needed any more."""
        item: ThreadWork | None
        while True:
            item = self._queue.get()
            if item is not None:
                thread.item = item
                if self._closed:
                    item.stop(self._closing())
                item.perform()
            if self._leave(thread, had_item=item is not None):
                return
            item = None  # an idle thread keeps no context alive

    def block(self, thread: _PoolThread) -> None:
        """Count `thread` as waiting, and let another take its slot."""
        with shield(), self._lock:
            thread.depth += 1
            if thread.depth == 1 and not thread.abandoned:
                self._blocked += 1
                self._grow()

    def unblock(self, thread: _PoolThread) -> None:
        """Count `thread` as running again; a thread too many leaves when it has nothing to do."""
        with shield(), self._lock:
            thread.depth -= 1
            if thread.depth == 0 and not thread.abandoned:
                self._blocked -= 1
                if self._is_over() and len(self._threads) > self._on_hand:
                    self._queue.put(None)

    def replace(self, item: ThreadWork) -> None:
        """Forget the thread in which `item` is stuck, so that its slot is free."""
        with self._lock:
            for thread in [thread for thread in self._threads if thread.item is item]:
                thread.abandoned = True
                self._forget(thread)
                self._on_hand -= 1
            self._grow()

    def _leave(self, thread: _PoolThread, *, had_item: bool) -> bool:
        """Settle the books after an item; say whether the thread should end."""
        with self._lock:
            thread.item = None
            if thread.abandoned:
                return True
            self._on_hand -= had_item
            if thread.depth:
                self._blocked -= 1
                thread.depth = 0
            leave = self._is_over() or (self._closed and not had_item)
            if leave:
                self._forget(thread)
            return leave

    def _is_over(self) -> bool:
        return len(self._threads) - self._blocked > self.slots

    def _forget(self, thread: _PoolThread) -> None:
        self._threads.discard(thread)
        if thread.depth:
            self._blocked -= 1

    def _grow(self, more: int = 0) -> None:
        """Start a thread if an item, or one of `more` to come, has none and a slot is free. The lock is held."""
        threads = len(self._threads)
        if self._closed or threads >= self._on_hand + more or threads - self._blocked >= self.slots:
            return
        with shield():
            thread = _PoolThread(self, next(self._names))
            try:
                thread.start()
            except RuntimeError:
                if not self._threads:
                    raise
                logger.warning("The system gives no more threads; going on with %d.", len(self._threads))
            else:
                self._threads.add(thread)

    def _drain(self) -> Iterator[ThreadWork | None]:
        while True:
            try:
                yield self._queue.get_nowait()
            except Empty:
                return

    def _closing(self) -> ClosedSignal:
        return ClosedSignal(f"the executor {self.name!r} was closed")


class _PoolThread(threading.Thread):
    """A thread of a pool; as a context manager, a stretch in which it waits."""

    def __init__(self, pool: ThreadExecutor, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.pool = pool
        self.item: ThreadWork | None = None
        self.depth = 0
        self.abandoned = False

    def run(self) -> None:
        """Serve the pool."""
        self.pool.serve(self)

    def __enter__(self) -> None:
        """Wait from here on."""
        self.pool.block(self)

    def __exit__(self, *_: object) -> None:
        """Run again."""
        self.pool.unblock(self)
