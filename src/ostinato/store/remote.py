"""The store of a server, over HTTP: for run processes, workers and command lines without a database of their own.

```
RemoteStore.commit ─► number it ─► wire.encode ─► Link: POST /api/store/commit ─► the server's SqlStore
                                                    └─ server away: again, the number the same
```

A run outlives a restart of its server because every verb that a run needs can be repeated: a commit carries its
number, a creation its id, a reopening its epoch. The few that cannot raise `StoreUnavailableError` where the answer
was lost, and say that it is not known whether they went through.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostinato.connection import LostError
from ostinato.errors import AccessError, StoreError, UnknownRunError
from ostinato.link import Link, Trouble
from ostinato.store import wire
from ostinato.store.numbering import Claims, Count, Counts, halves
from ostinato.store.remote_retention import RemoteRetention
from ostinato.store.remote_timing import RemoteTiming
from ostinato.store.skew import Skew
from ostinato.timing import NOTHING
from ostinato.work import ProcessEnd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ostinato.access import Token, User
    from ostinato.clock import Clock
    from ostinato.records import (
        Attempt,
        Beat,
        CacheEntry,
        Commit,
        LogBatch,
        Run,
        RunFilter,
        StateValue,
        StoredEvent,
        StoreInfo,
        TaskRun,
        Wait,
        Worker,
    )
    from ostinato.states import State
    from ostinato.timing import Timing
    from ostinato.work import (
        Claim,
        Deployed,
        Held,
        Offer,
        Pool,
        Project,
        Queue,
        QueueLength,
        RunBrief,
        Survey,
        Ticket,
    )

_ANSWER: Final = 30.0
"""Seconds to wait for an answer, beyond what the verb itself waits."""
_ROOM: Final = wire.MOST * 3 // 4
"""Bytes above which a commit is sent in two."""
_NOT_TAKEN: Final = ProcessEnd(reason="drained", message="the answer that gave it to the worker was lost")


class RemoteStore(RemoteTiming, RemoteRetention):
    """A `Store` that a server keeps.

    Args:
        url: The server's, ``http://127.0.0.1:4600``.
        token: What is shown to it; `token` may be changed at any time, as a process does that serves many runs.
        clock: What tells the time, the server's clock if None.
        lease: Seconds that this process's lease lasts: nothing that renews it waits longer than a part of that.
        patience: Seconds for which a server that is away is waited for; None for 90 with a run's token, else 30.

    Nothing is asked of the server before the first verb.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        clock: Clock | None = None,
        lease: float = 8.0,
        patience: float | None = None,
    ) -> None:
        self._link = Link(url, token=token, patience=patience)
        self._clock = clock
        self._lease = lease
        self._skew = Skew()
        self._counts = Counts()
        self._claims = Claims()

    @property
    def token(self) -> str:
        """What is shown to the server; the server may have renewed it."""
        return self._link.token

    @token.setter
    def token(self, token: str) -> None:
        self._link.token = token

    def now(self) -> int:
        """Return the instant now by the store's own clock, which judges leases."""
        if self._clock is not None:
            return self._clock.now()
        return self._skew.now(lambda: self._call("now"))

    def close(self) -> None:
        """Let go of the server. Closing twice is harmless."""
        self._link.close()

    def _call(
        self, name: str, *arguments: Any, wait: float = 0.0, timeout: float = _ANSWER, patience: float | None = None
    ) -> Any:
        return self._post(name, wire.encode(arguments), timeout=wait + timeout, patience=patience)

    def _post(self, name: str, body: bytes, *, timeout: float = _ANSWER, patience: float | None = None) -> Any:
        if len(body) > wire.MOST:
            raise StoreError(
                f"{name} would send {len(body):,} bytes, and a server takes {wire.MOST:,} at most. Keep large values "
                "in the result store: OSTINATO_INLINE_LIMIT and OSTINATO_INPUTS_LIMIT say from which size."
            )
        reply = self._link.call(
            "POST", wire.PATH + name, body, timeout=timeout, patience=patience, again=wire.VERBS[name].again
        )
        return wire.reader_of(name)(reply.body)

    # --- workers and their leases

    def register(self, worker: Worker) -> None:
        """Add a worker; its `expires_at` is set from the store's clock plus the lease."""
        self._call("register", worker)

    def beat(self, worker_id: str) -> Beat:
        """Renew a worker's lease, unless it has ended, and tell it what it must know.

        It gives up early: whoever renews a lease must notice in time that he cannot.
        """
        part = self._lease / 3
        found: Beat = self._call("beat", worker_id, timeout=part, patience=part)
        return found

    def leave(self, worker_id: str) -> None:
        """Remove a worker that ends in order. Runs it still holds are swept at once."""
        self._call("leave", worker_id)

    def sweep(self, dead: Sequence[str] = ()) -> list[Run]:
        """Mark the runs of workers whose lease has ended, or that are named `dead`, as crashed."""
        found: list[Run] = self._call("sweep", dead)
        return found

    def list_workers(self) -> list[Worker]:
        """List the workers that are registered, dead ones included until they are swept."""
        found: list[Worker] = self._call("list_workers")
        return found

    # --- the life of a run

    def create(self, run: Run) -> Run:
        """Insert a run, or return the one that has its id, or its flow and key, already."""
        return self._counts.learn(self._call("create", run))

    def reopen(
        self,
        run_id: str,
        worker_id: str | None,
        *,
        again: Sequence[int] = (),
        clear: Sequence[int] = (),
        stale: Sequence[int] = (),
        attempt: bool = False,
        epoch: int | None = None,
    ) -> Run:
        """Raise the epoch of a run that nobody holds and lease it to `worker_id`, in one transaction."""
        if epoch is None:  # so that it can be repeated
            epoch = self.get_run(run_id).epoch
        return self._counts.learn(self._call("reopen", run_id, worker_id, again, clear, stale, attempt, epoch))

    def commit(self, run_id: str, epoch: int, entries: Commit, *, number: int | None = None) -> bool:
        """Write what a running run did: all of it or nothing.

        It is numbered here unless it comes with a number. One that is too large for a message is sent in parts, whole
        task runs each, before what ends or suspends the run.
        """
        count = self._counts.find(run_id, epoch)
        with count.lock:
            if number is not None:
                count.number = max(number, count.number or 0)
                is_cancelled: bool = self._call("commit", run_id, epoch, entries, number)
            else:
                if count.number is None:
                    count.number = self._number_of(run_id, epoch)
                is_cancelled = self._commit(run_id, epoch, entries, count)
        if entries.end is not None or entries.suspend is not None:
            self._counts.forget(run_id)
        return is_cancelled

    def _number_of(self, run_id: str, epoch: int) -> int:
        """Ask how many commits an epoch has; 0 where the commit will be refused anyway."""
        try:
            run = self.get_run(run_id)
        except UnknownRunError:
            return 0
        return run.commits if run.epoch == epoch else 0

    def _commit(self, run_id: str, epoch: int, entries: Commit, count: Count) -> bool:
        number = (count.number or 0) + 1
        body = wire.encode((run_id, epoch, entries, number))
        both = halves(entries) if len(body) > _ROOM else None
        if both is not None:
            self._commit(run_id, epoch, both[0], count)
            return self._commit(run_id, epoch, both[1], count)
        # kept even where the commit fails: it may arrive late, and must not be taken for the next one
        count.number = number
        found: bool = self._post("commit", body)
        return found

    def load(self, run_id: str) -> Iterator[TaskRun]:
        """Yield the task runs a new pass of a run may find again, nearest run first, by `seq` in each.

        A stream that breaks off is taken up again behind what was had of it.
        """
        had = 0
        trouble = Trouble(self._link)
        while True:
            try:
                with self._link.stream(f"{wire.PATH}load", wire.encode((run_id, had))) as stream:
                    while page := wire.read_page(stream.take):
                        had += len(page)
                        trouble.forget()
                        yield from page
                    stream.finish()
            except LostError as lost:
                trouble.bear(lost)
            else:
                return

    def request_cancel(self, run_id: str) -> Run:
        """Ask a live run to stop; cancel at once one that nobody works on (its epoch is raised)."""
        found: Run = self._call("request_cancel", run_id)
        return found

    def mark(self, run_id: str, seq: int, state: State, *, result: bytes | None, result_fp: bytes | None) -> Run:
        """Set a task run of a run that nobody holds to a terminal state, as its operator says."""
        found: Run = self._call("mark", run_id, seq, state, result, result_fp)
        return found

    # --- reading

    def get_run(self, run_id: str) -> Run:
        """Return a run by its whole id."""
        found: Run = self._call("get_run", run_id)
        return found

    def find_runs(self, fragment: str) -> list[Run]:
        """Return up to 10 runs whose id begins or ends with `fragment`, newest first."""
        found: list[Run] = self._call("find_runs", fragment)
        return found

    def list_runs(self, which: RunFilter) -> list[Run]:
        """List runs, newest first, at most `which.limit`."""
        found: list[Run] = self._call("list_runs", which)
        return found

    def count_task_runs(self, run_ids: Sequence[str]) -> dict[str, dict[State, int]]:
        """Count the task runs of each run by state; orphaned ones and journaled values are left out."""
        found: dict[str, dict[State, int]] = self._call("count_task_runs", run_ids)
        return found

    def list_task_runs(
        self, run_id: str, *, after: int = -1, limit: int = 1000, states: Sequence[State] = ()
    ) -> list[TaskRun]:
        """List a run's own task runs in the order of `seq`, from the first beyond `after`."""
        found: list[TaskRun] = self._call("list_task_runs", run_id, after, limit, states)
        return found

    def list_attempts(self, run_id: str, seq: int | None = None) -> list[Attempt]:
        """List the earlier attempts of a run's task runs, or of one."""
        found: list[Attempt] = self._call("list_attempts", run_id, seq)
        return found

    def read_logs(self, run_id: str, *, after: tuple[int, int] = (-1, -1), limit: int = 100) -> list[LogBatch]:
        """Read batches of log lines in the order of (epoch, n), from the first beyond `after`."""
        found: list[LogBatch] = self._call("read_logs", run_id, after, limit)
        return found

    def list_events(self, run_id: str | None = None, *, after: int = 0, limit: int = 1000) -> list[StoredEvent]:
        """List events in the order they were stored, from the first beyond `after`."""
        found: list[StoredEvent] = self._call("list_events", run_id, after, limit)
        return found

    def load_states(self, run_id: str, task_run_id: str) -> list[StateValue]:
        """Return what a task run keeps in ``current.state``."""
        found: list[StateValue] = self._call("load_states", run_id, task_run_id)
        return found

    def find_cached(self, key: str) -> CacheEntry | None:
        """Return the cache entry of that key unless it has expired."""
        found: CacheEntry | None = self._call("find_cached", key)
        return found

    # --- upkeep

    def info(self) -> StoreInfo:
        """Describe the database of the server; `location` says through which server."""
        found: StoreInfo = self._call("info", timeout=120.0)
        return msgspec.structs.replace(found, location=f"{self._link.url} ({found.location})")

    # --- the queue

    def claim(self, worker_id: str, offer: Offer, *, wait: float = 0.0) -> list[Claim]:
        """Take runs for a worker; the server answers as soon as there is one.

        What an answer that was lost may have given it goes back to the queue when it asks again.
        """
        wait = min(wait, wire.LONGEST_WAIT)
        with self._claims.lock:
            if self._claims.is_unsure:
                self._put_back(worker_id)
            self._claims.is_unsure = True
            found: list[Claim] = self._call("claim", worker_id, offer, wait, wait=wait)
            self._claims.take(found)
        return found

    def _put_back(self, worker_id: str) -> None:
        held = self.list_held_runs(worker_id)
        for run in held:
            if run.pool is not None and (run.id, run.epoch) not in self._claims.known:
                self.give_back(worker_id, run.id, run.epoch, _NOT_TAKEN)
        self._claims.known &= {(run.id, run.epoch) for run in held}

    def give_back(self, worker_id: str, run_id: str, epoch: int, ending: ProcessEnd) -> Run:
        """Say that the process of a run has ended without ending the run."""
        found: Run = self._call("give_back", worker_id, run_id, epoch, ending)
        return found

    def requeue(self, run_id: str, pool: str, *, queue: str = "default") -> Run:
        """Give a run that nobody holds and that was lost to the workers of a pool."""
        found: Run = self._call("requeue", run_id, pool, queue)
        return found

    def drain(self, worker_id: str) -> None:
        """Note that a worker takes no more runs."""
        self._call("drain", worker_id)

    def survey(self) -> Survey:
        """Look, in one cheap read, whether any loop has something to do."""
        found: Survey = self._call("survey")
        return found

    def wake(self, *, limit: int = 500) -> int:
        """Queue the runs whose waits are over."""
        found: int = self._call("wake", limit)
        return found

    def hold(self, notes: Sequence[Held]) -> None:
        """Record why runs are not claimed."""
        self._call("hold", notes)

    def list_tickets(self, pool: str | None = None, *, after: int = 0, limit: int = 200) -> list[Ticket]:
        """List tickets: of one pool in the order of claiming (`after` is then an offset), else by id beyond `after`."""
        found: list[Ticket] = self._call("list_tickets", pool, after, limit)
        return found

    def find_ticket(self, run_id: str) -> Ticket | None:
        """Return a run's ticket, None when it is not queued."""
        found: Ticket | None = self._call("find_ticket", run_id)
        return found

    def list_queue_lengths(self) -> list[QueueLength]:
        """Count what waits, by pool and queue."""
        found: list[QueueLength] = self._call("list_queue_lengths")
        return found

    def list_waits(self, run_id: str) -> list[Wait]:
        """List what a run waits for."""
        found: list[Wait] = self._call("list_waits", run_id)
        return found

    def list_held_runs(self, worker_id: str | None = None, *, pool: str | None = None, limit: int = 500) -> list[Run]:
        """List the runs that workers hold now: of one, of those in a pool, or all; oldest claim first."""
        found: list[Run] = self._call("list_held_runs", worker_id, pool, limit)
        return found

    def await_runs(self, run_ids: Sequence[str], *, wait: float = 0.0) -> list[RunBrief]:
        """Return how those of some runs stand that have ended; wait for the first for so many seconds at most."""
        until = time.monotonic() + wait
        while True:
            part = max(0.0, min(until - time.monotonic(), wire.LONGEST_WAIT))
            found: list[RunBrief] = self._call("await_runs", run_ids, part, wait=part)
            if found or time.monotonic() >= until:
                return found

    def watch(self, heard: Callable[[], None]) -> Callable[[], None]:  # noqa: ARG002  # the Protocol's
        """Do nothing: the server hears of what changes, and its long polls tell."""
        return lambda: None

    def lead(self, duty: str, holder: str, seconds: float) -> bool:
        """Take or renew a duty that one server at a time has."""
        found: bool = self._call("lead", duty, holder, seconds)
        return found

    # --- what is deployed

    def put_project(self, project: Project, deployed: Sequence[Deployed], timing: Timing = NOTHING) -> list[Deployed]:
        """Store what a project holds now."""
        found: list[Deployed] = self._call("put_project", project, deployed, timing)
        return found

    def list_projects(self) -> list[Project]:
        """List projects by name."""
        found: list[Project] = self._call("list_projects")
        return found

    def remove_project(self, name: str) -> None:
        """Remove a project and its deployments; runs stay."""
        self._call("remove_project", name)

    def list_deployed(self, *, project: str | None = None, flow: str | None = None) -> list[Deployed]:
        """List deployments by name."""
        found: list[Deployed] = self._call("list_deployed", project, flow)
        return found

    def get_deployed(self, name: str) -> Deployed:
        """Return a deployment; the error names the nearest one."""
        found: Deployed = self._call("get_deployed", name)
        return found

    def pause_deployed(self, name: str, *, paused: bool) -> Deployed:
        """Pause a deployment or resume it."""
        found: Deployed = self._call("pause_deployed", name, paused)
        return found

    def put_pool(self, pool: Pool) -> None:
        """Declare a work pool, or change it."""
        self._call("put_pool", pool)

    def list_pools(self) -> list[Pool]:
        """List the pools that were declared, and those that deployments or workers name."""
        found: list[Pool] = self._call("list_pools")
        return found

    def remove_pool(self, name: str) -> None:
        """Forget what was declared of a pool and its queues."""
        self._call("remove_pool", name)

    def put_queue(self, queue: Queue) -> None:
        """Declare a queue, or change it."""
        self._call("put_queue", queue)

    def list_queues(self, pool: str | None = None) -> list[Queue]:
        """List the queues that were declared."""
        found: list[Queue] = self._call("list_queues", pool)
        return found

    # --- who may do what

    def put_user(self, user: User) -> None:
        """Add a user or change one."""
        self._call("put_user", user)

    def list_users(self) -> list[User]:
        """List users by name."""
        found: list[User] = self._call("list_users")
        return found

    def put_token(self, token: Token) -> None:
        """Keep a token's hash, or change what is kept with it."""
        self._call("put_token", token)

    def find_token(self, digest: str) -> Token | None:
        """Find a token by its SHA-256."""
        found: Token | None = self._call("find_token", digest)
        return found

    def list_tokens(self) -> list[Token]:
        """List tokens, newest first, those that no longer hold too."""
        found: list[Token] = self._call("list_tokens")
        return found

    def secret(self, name: str) -> bytes:
        """Refuse with an `AccessError`: the secrets of a server do not leave it."""
        raise AccessError(f"The secret {name!r} belongs to the server {self._link.url} alone and is not given out.")
