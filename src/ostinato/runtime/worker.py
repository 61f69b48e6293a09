"""A worker: takes runs from the queue and has them carried out by processes of this machine.

```
claim thread    a free slot? ─► store.claim, up to 25 s ─► launcher ─► a warm process ─► done ─► the slot is free
beat thread     every quarter of the lease: renews it; hears whom to cancel; tells the processes that all is well
main thread     signals: the first SIGTERM or SIGINT drains, the second ends at once
```

While runs are under way that take resources, a claim waits for a second only: what it may take was said when it began,
and grows when such a run ends. Slots need no such care: a claim that waits is answered with the first run that comes,
and the next one offers all that is free by then.

The lease is lost when the store says so, or has not answered for two thirds of it: then all processes are killed at
once, and the worker begins anew under another id.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import msgspec

from ostinato.clock import SystemClock
from ostinato.errors import (
    AccessError,
    OstinatoError,
    ProtocolError,
    StaleEpochError,
    StoreError,
    StoreUnavailableError,
)
from ostinato.ids import new_id
from ostinato.io.results import ResultStore
from ostinato.launchers.job import Job
from ostinato.launchers.line import Order
from ostinato.launchers.run_process import Place
from ostinato.launchers.subprocesses import SubprocessLauncher
from ostinato.launchers.terms import Terms
from ostinato.resources import amounts_of
from ostinato.runtime.bundles import Bundles
from ostinato.runtime.capacity import Capacity, find_totals
from ostinato.runtime.finding import store_for
from ostinato.runtime.returning import Returning
from ostinato.runtime.session import this_process
from ostinato.settings import Settings
from ostinato.work import DEFAULT_POOL, ProcessEnd

if TYPE_CHECKING:
    from ostinato.records import Run
    from ostinato.store.store import Store
    from ostinato.work import Claim

_log = logging.getLogger("ostinato.worker")
_LONG_POLL = 25.0
_WITH_RESOURCES = 1.0
_SOON = 0.25
"""Seconds to the next claim where the store answers at once that there is nothing, as a database does."""
_LATER = 1.0
"""Seconds to the next try where the store cannot be reached."""
_LAST = 10.0
"""Seconds for runs to be given back when the worker ends."""
_ARRIVE_EVERY = 1.0
_TELL_EVERY = 30.0

_DRAINED = ProcessEnd(reason="drained", message="the worker was shut down")
_LOST = ProcessEnd(reason="killed", message="the worker had lost its lease")
_STOP, _FAILED = "stop", "failed"


class WorkerPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker serves, and with what."""

    settings: Settings
    pools: list[str] = msgspec.field(default_factory=lambda: [DEFAULT_POOL])
    slots: int = 0
    """How many runs at once; 0 for two to a processor."""
    resources: dict[str, float] = {}
    """What it has, instead of or besides what is found: ``cpu``, ``memory``, ``gpu``, any named."""
    roots: list[str] = []
    """The project folders it has, or single files of flows."""
    warm: int = 1
    """How many processes are kept ready for each of them."""
    cold: bool = False
    """Each run in a process of its own."""
    runs_each: int = 1000
    """How many runs a process serves."""
    grace: float = 30.0
    """Seconds for what runs to end, once the worker is to stop."""
    cancel_grace: float = 10.0
    """Seconds for a run that was cancelled to stop by itself."""
    memory_per_run: int | None = None
    """Bytes of memory that a run may take which says nothing of it; None for any amount."""
    tells_broken: bool = True
    """Whether it logs which modules cannot be imported; not where somebody else tells it."""


class Worker:
    """One worker, from `run` to its end."""

    def __init__(self, plan: WorkerPlan, store: Store | None = None) -> None:
        """Describe it; nothing begins before `run`.

        Args:
            plan: What it serves.
            store: Instead of the one that the settings name; it stays open.
        """
        self.plan, settings = plan, plan.settings
        self.store = store or store_for(settings)
        self._keeps_store = store is not None
        self._clock = SystemClock()
        self._places = [_place_of(root) for root in plan.roots]
        self.capacity = Capacity(plan.slots or 2 * (os.cpu_count() or 1), find_totals(plan.resources))
        self.worker_id = ""
        """Empty while it is not registered."""
        self._heard_at = 0.0
        self._draining = False
        self._over = threading.Event()
        self._told: SimpleQueue[str] = SimpleQueue()
        self._error: BaseException | None = None
        self._aside = ThreadPoolExecutor(4, thread_name_prefix="ostinato-aside")
        self._returning = Returning(self.store, lambda worker_id: worker_id == self.worker_id)
        self._bundles = Bundles(settings.home_path / "bundles", ResultStore(settings.results_url, token=settings.token))
        self._launcher: SubprocessLauncher | None = None

    @property
    def launcher(self) -> SubprocessLauncher:
        """What gives runs their processes, once it runs."""
        assert self._launcher is not None
        return self._launcher

    def run(self) -> None:
        """Work until `stop` is called, or a signal comes; then drain and leave.

        Raises:
            AccessError: If the server does not let it.
            ProtocolError: If the server speaks another version.
        """
        restore = self._handle_signals()
        try:
            self._arrive()
            self._launcher = SubprocessLauncher(self._terms(), self._done)
            for place in self._places:
                self._launcher.prepare(place)
            for work in (self._claim, self._beat):
                threading.Thread(target=work, name=f"ostinato-{work.__name__.strip('_')}", daemon=True).start()
            if self._told.get() == _STOP:
                self._drain()
        finally:
            self._leave()
            restore()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Drain; called a second time, end at once. From any thread, and from a signal handler."""
        self._told.put(_STOP)

    def reload(self) -> None:
        """Carry out no run with what was imported before now. From any thread."""
        if self._launcher is not None:
            self._launcher.reload()

    def _terms(self) -> Terms:
        plan = self.plan
        handed = msgspec.structs.replace(plan.settings, token="", display="none")
        if handed.api:
            handed = msgspec.structs.replace(handed, database="")
        return Terms(
            settings=handed,
            slots=self.capacity.slots,
            warm=min(plan.warm, self.capacity.slots),
            runs_each=plan.runs_each,
            grace=plan.cancel_grace,
            silence=plan.settings.lease * 2 / 3,
            tells_broken=plan.tells_broken,
        )

    # --- the lease

    def _arrive(self) -> None:
        """Register; wait for a server that is not there yet, as long as it takes or until a signal."""
        told_at = 0.0
        while True:
            try:
                return self._register()
            except StoreUnavailableError as error:
                if time.monotonic() - told_at > _TELL_EVERY:
                    told_at = time.monotonic()
                    _log.warning("Waiting for the server: %s", error)
            try:
                self._told.get(timeout=_ARRIVE_EVERY)
            except Empty:
                continue
            self._told.put(_STOP)  # for whoever waits for it after this
            return None

    def _register(self) -> None:
        now = self._clock.now()
        worker_id = new_id(now)
        self.store.register(
            msgspec.structs.replace(
                this_process(worker_id, "worker", now),
                pools=self.plan.pools,
                slots=self.capacity.slots,
                resources=msgspec.json.encode(self.capacity.totals).decode(),
                roots=[place.root for place in self._places],
            )
        )
        self._heard_at = time.monotonic()
        self.worker_id = worker_id
        self.capacity.wake()
        _log.info("Worker %s serves %s with %d slots.", worker_id, ", ".join(self.plan.pools), self.capacity.slots)

    def _beat(self) -> None:
        while not self._over.wait(self.plan.settings.lease / 4):
            try:
                if self.worker_id:
                    self._renew(self.worker_id)
                elif not self._draining:
                    self._register()
            except (AccessError, ProtocolError) as error:
                self._fail(error)
            except OstinatoError as error:
                self._miss(error)
            except Exception:
                _log.exception("The worker failed to renew its lease.")

    def _renew(self, worker_id: str) -> None:
        beat = self.store.beat(worker_id)
        if not beat.alive:
            self._lose(worker_id, "its lease had ended: it was stopped, or too busy to renew it")
            return
        self._heard_at = time.monotonic()
        self.launcher.say_alive()
        for run_id in beat.cancelled:
            self.launcher.cancel(run_id)

    def _miss(self, error: OstinatoError) -> None:
        silent = time.monotonic() - self._heard_at
        _log.warning("The store has not answered for %.1f s: %s", silent, error)
        if self.worker_id and silent >= self.plan.settings.lease * 2 / 3:
            self._lose(self.worker_id, f"the store has not answered for {silent:.0f} s")

    def _lose(self, worker_id: str, why: str) -> None:
        if self.worker_id != worker_id:
            return  # another thread has seen it too
        self.worker_id = ""
        _log.warning("Worker %s holds its %d runs no longer, they are ended: %s.", worker_id, self.capacity.count, why)
        self.launcher.kill(_LOST)

    def _fail(self, error: BaseException) -> None:
        self._error = error
        self._told.put(_FAILED)

    # --- the runs

    def _claim(self) -> None:
        while not self._draining:
            self.capacity.wait(lambda: self._draining or (bool(self.worker_id) and self.capacity.has_room))
            worker_id = self.worker_id
            if self._draining or not worker_id:
                continue
            began = time.monotonic()
            wait = _WITH_RESOURCES if self.capacity.holds_resources else _LONG_POLL
            claims = self._claim_once(worker_id, wait)
            if not claims and time.monotonic() - began < _SOON:
                self.capacity.wait(lambda: self._draining, _SOON if claims is not None else _LATER)

    def _claim_once(self, worker_id: str, wait: float) -> list[Claim] | None:
        """Claim and begin what there is; None where the store cannot be asked."""
        try:
            claims = self.store.claim(worker_id, self.capacity.offer(self.plan.pools), wait=wait)
        except StaleEpochError as error:
            if not self._draining:
                self._lose(worker_id, str(error).rstrip("."))
            return None
        except (AccessError, ProtocolError) as error:
            self._fail(error)
            return None
        except StoreError as error:
            _log.warning("No runs can be claimed: %s", error)
            return None
        except Exception:
            _log.exception("No runs could be claimed.")
            return None
        for claim in claims:
            job = Job(order=Order(claim.run, worker_id, claim.token), place=Place(""))
            try:
                self._begin(job, claim)
            except Exception as error:  # whatever it is, neither this thread nor the run must be lost with it
                _log.exception("Run %s could not be begun.", job.run_id)
                self._done(job, ProcessEnd(reason="unstartable", message=f"it could not be begun: {error}"))
        return claims

    def _begin(self, job: Job, claim: Claim) -> None:
        run = claim.run
        if self.worker_id != job.order.worker_id:
            return  # the lease is lost, and so is the run
        if self._draining:
            self._done(job, _DRAINED)
            return
        self.capacity.take(run)
        job.cold = self.plan.cold or _is_cold(claim.options)
        job.limit = int(amounts_of(run.resources).get("memory", 0)) or self.plan.memory_per_run
        if run.bundle is None:
            job.place = self._place_of_run(run)
            self.launcher.launch(job)
        else:
            self._aside.submit(self._fetch_and_launch, job)

    def _place_of_run(self, run: Run) -> Place:
        target = run.target or ""
        file = target.removesuffix(f":{run.flow}") if run.kind == "task" else target.rpartition(":")[0]
        for place in self._places:
            if Path(place.root) in Path(file).parents and (not place.targets or file in place.targets):
                return place
        if file.endswith(".py"):
            return Place(str(Path(file).parent), targets=(file,))
        return Place(run.cwd or (self._places[0].root if self._places else str(Path.cwd())))

    def _fetch_and_launch(self, job: Job) -> None:
        """Have a run carried out in its bundle, unpacked first if need be."""
        assert job.order.run.bundle is not None
        try:
            unpacked = self._bundles.get(job.order.run.bundle)
            job.place = Place(str(unpacked.folder), unpacked.python, bundled=True)
            self.launcher.launch(job)
        except Exception as error:  # whatever it is, the run must not be lost with this thread
            _log.warning("Run %s has no code to run: %s", job.run_id, error)
            self._done(job, ProcessEnd(reason="unstartable", message=f"its bundle could not be unpacked: {error}"))

    def _done(self, job: Job, ending: ProcessEnd | None) -> None:
        """Hear that a process is through with a run; be quick."""
        if ending is not None and job.order.worker_id == self.worker_id:
            _log.info("Run %s is given back (%s): %s", job.run_id, ending.reason, ending.message)
            self._returning.give_back(job, ending)  # before its slot is free: then the worker may leave
        self.capacity.free(job.run_id)

    # --- the end

    def _drain(self) -> None:
        """Take nothing new, let what runs end for a while, give the rest back."""
        self._draining = True
        self.capacity.wake()
        _log.info("The worker takes no more runs; %d are under way.", self.capacity.count)
        try:
            if self.worker_id:
                self.store.drain(self.worker_id)
        except OstinatoError as error:
            _log.warning("The store does not know that this worker drains: %s", error)
        deadline = time.monotonic() + self.plan.grace
        while self.capacity.count and time.monotonic() < deadline and not self._is_told_again():
            pass
        self.launcher.kill(_DRAINED)
        self.capacity.wait(lambda: not self.capacity.count, 10)

    def _is_told_again(self) -> bool:
        try:
            self._told.get(timeout=0.05)
        except Empty:
            return False
        return True

    def _leave(self) -> None:
        self._draining = True
        self.capacity.wake()
        self._aside.shutdown()
        self._returning.close(_LAST if self.worker_id else 0)  # what is not back by then is swept when it leaves
        self._over.set()
        if self._launcher is not None:
            self._launcher.close()
        if self.worker_id:
            try:
                self.store.leave(self.worker_id)
            except OstinatoError as error:
                _log.warning("The worker could not sign off: %s", error)
        if not self._keeps_store:
            self.store.close()

    def _handle_signals(self) -> _Restore:
        restore = _Restore()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                restore.handlers.append((number, signal.signal(number, lambda *_: self.stop())))
        return restore


class _Restore:
    """Puts signal handlers back."""

    def __init__(self) -> None:
        self.handlers: list[tuple[int, object]] = []

    def __call__(self) -> None:
        for number, handler in self.handlers:
            signal.signal(number, handler)  # type: ignore[arg-type]


def run_worker(plan: WorkerPlan, store: Store | None = None) -> None:
    """Be a worker until a signal ends it; see `Worker.run`."""
    Worker(plan, store).run()


def _place_of(root: str) -> Place:
    path = Path(root).expanduser().absolute()
    if path.suffix == ".py":
        return Place(str(path.parent), targets=(str(path),))
    return Place(str(path))


def _is_cold(options: str) -> bool:
    return bool(msgspec.json.decode(options, type=dict[str, object]).get("cold"))
