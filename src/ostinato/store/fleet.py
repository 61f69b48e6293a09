"""What the store does for servers and workers, besides keeping journals: the second half of the `Store` Protocol.

Three groups of verbs: the queue and its workers (`Fleet`), what is deployed (`Catalog`), who may do what (`Accounts`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ostinato.timing import NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ostinato.access import Token, User
    from ostinato.records import Event, Run, Wait
    from ostinato.timing import Timing
    from ostinato.work import (
        Claim,
        Deployed,
        Held,
        Offer,
        Pool,
        ProcessEnd,
        Project,
        Queue,
        QueueLength,
        RunBrief,
        Survey,
        Ticket,
    )


class Fleet(Protocol):
    """The queue, and who takes from it.

    A run that is stored, or becomes, ``queued`` with a pool has a ticket from the same transaction on; one that is
    stored ``scheduled`` has a wait of kind ``start`` that is over at its `scheduled_at`.
    """

    def claim(self, worker_id: str, offer: Offer, *, wait: float = 0.0) -> list[Claim]:
        """Take runs for a worker: highest priority first, then in the order they were queued.

        Each point of priority counts as a minute in the queue: what waits longer by that goes before.

        Left in the queue: runs of paused pools, queues and deployments, beyond a pool's slots, and those that need
        more than is left of the offer. A run that is too large for what is free now but not for the worker, and
        has waited long, is not overtaken for ever: smaller ones are then left too until it fits.

        Claimed runs are ``running``, leased to the worker, their epoch raised by one, `commits` 0, their ticket
        gone, their bundle the deployment's newest unless it is pinned, an event ``run.claimed`` each.

        Args:
            worker_id: Who takes them; its lease must not have ended, and it must not be draining.
            offer: What it has free.
            wait: Seconds to wait for the first; only a server does, a database answers at once.

        Raises:
            StaleEpochError: If the worker is not registered or its lease has ended.
        """
        ...

    def give_back(self, worker_id: str, run_id: str, epoch: int, ending: ProcessEnd) -> Run:
        """Say that the process of a run has ended without ending the run.

        Live task runs become ``crashed`` with the reason of `ending`, and so do child runs that were carried out in
        the process. The run goes back to the queue with one recovery more, or, after `max_recoveries` in a row without
        progress, becomes ``crashed``, reason ``poisonous``. ``drained`` counts as no recovery; ``unloadable`` fails the
        run at once, and so does ``out_of_memory`` unless the deployment's ``retry_on_oom`` allows another attempt,
        which then asks for that many times the memory. Does nothing if the run has ended or is not held by that worker
        in that epoch any more.

        Returns:
            The run as it is now.
        """
        ...

    def requeue(self, run_id: str, pool: str, *, queue: str = "default") -> Run:
        """Give a run that nobody holds and that was lost to the workers of a pool; see `reopen` with no worker.

        Raises:
            RunStateError: If it is held, or was not lost.
        """
        ...

    def drain(self, worker_id: str) -> None:
        """Note that a worker takes no more runs."""
        ...

    def survey(self) -> Survey:
        """Look, in one cheap read, whether any loop has something to do."""
        ...

    def wake(self, *, limit: int = 500) -> int:
        """Queue the runs whose waits are over: timers, starts and timeouts that are due, and what was missed.

        The last is a repair of what a crash between two transactions may have left, a page of those who wait at a
        time; ends and events wake by themselves.

        Returns:
            How many became queued; `limit` means there may be more.
        """
        ...

    def hold(self, notes: Sequence[Held]) -> None:
        """Record why runs are not claimed: in their ticket, and an event ``run.held`` where the reason has changed."""
        ...

    def list_tickets(self, pool: str | None = None, *, after: int = 0, limit: int = 200) -> list[Ticket]:
        """List tickets: of one pool in the order of claiming (`after` is then an offset), else by id beyond `after`."""
        ...

    def find_ticket(self, run_id: str) -> Ticket | None:
        """Return a run's ticket, None when it is not queued."""
        ...

    def list_queue_lengths(self) -> list[QueueLength]:
        """Count what waits, by pool and queue."""
        ...

    def list_waits(self, run_id: str) -> list[Wait]:
        """List what a run waits for."""
        ...

    def list_held_runs(self, worker_id: str | None = None, *, pool: str | None = None, limit: int = 500) -> list[Run]:
        """List the runs that workers hold now: of one, of those in a pool, or all; oldest claim first."""
        ...

    def await_runs(self, run_ids: Sequence[str], *, wait: float = 0.0) -> list[RunBrief]:
        """Return how those of some runs stand that have ended; wait for the first for so many seconds at most.

        Unknown ids are left out.
        """
        ...

    def watch(self, heard: Callable[[], None]) -> Callable[[], None]:
        """Call `heard`, from a thread of the store's own, soon after another process has queued runs or ended some.

        A hint only, coalesced, and never certain: whoever needs to know looks for himself now and then.

        Returns:
            What ends it.
        """
        ...

    def lead(self, duty: str, holder: str, seconds: float) -> bool:
        """Take or renew a duty that one server at a time has, for so many seconds; False where another has it."""
        ...

    def emit(self, events: Sequence[Event]) -> None:
        """Append events that belong to no commit, and queue who waited for them.

        `run_id` is empty for those about no run.
        """
        ...


class Catalog(Protocol):
    """Projects, deployments, pools and queues. Names that are unknown raise `ostinato.errors.UnknownNameError`."""

    def put_project(self, project: Project, deployed: Sequence[Deployed], timing: Timing = NOTHING) -> list[Deployed]:
        """Store what a project holds now, in one transaction: its deployments, schedules and automations.

        Deployments that are there already keep `paused`. Those of the project that are not in `deployed` any more are
        removed, their queued runs kept.

        Returns:
            The project's deployments as stored.

        Raises:
            UsageError: If another project has deployed a flow under one of the names.
        """
        ...

    def list_projects(self) -> list[Project]:
        """List projects by name."""
        ...

    def remove_project(self, name: str) -> None:
        """Remove a project and its deployments; runs stay."""
        ...

    def list_deployed(self, *, project: str | None = None, flow: str | None = None) -> list[Deployed]:
        """List deployments by name."""
        ...

    def get_deployed(self, name: str) -> Deployed:
        """Return a deployment; the error names the nearest one."""
        ...

    def pause_deployed(self, name: str, *, paused: bool) -> Deployed:
        """Pause a deployment or resume it: its queued runs are kept back, or let go."""
        ...

    def put_pool(self, pool: Pool) -> None:
        """Declare a work pool, or change it."""
        ...

    def list_pools(self) -> list[Pool]:
        """List the pools that were declared, and those that deployments or workers name."""
        ...

    def remove_pool(self, name: str) -> None:
        """Forget what was declared of a pool and its queues; refused (`UsageError`) while runs wait in it."""
        ...

    def put_queue(self, queue: Queue) -> None:
        """Declare a queue, or change it: the runs that wait in it too."""
        ...

    def list_queues(self, pool: str | None = None) -> list[Queue]:
        """List the queues that were declared."""
        ...


class Accounts(Protocol):
    """Users and tokens."""

    def put_user(self, user: User) -> None:
        """Add a user or change one."""
        ...

    def list_users(self) -> list[User]:
        """List users by name."""
        ...

    def put_token(self, token: Token) -> None:
        """Keep a token's hash, or change what is kept with it."""
        ...

    def find_token(self, digest: str) -> Token | None:
        """Find a token by its SHA-256; None if it is unknown, expired or revoked, or its user is disabled."""
        ...

    def list_tokens(self) -> list[Token]:
        """List tokens, newest first, those that no longer hold too."""
        ...

    def secret(self, name: str) -> bytes:
        """Return a random secret of 32 bytes that all servers of this store share; made when first asked for."""
        ...
