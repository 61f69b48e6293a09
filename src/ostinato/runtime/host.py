"""A run process: ``python -m ostinato.runtime.host``, started by a worker, which hands it one run after the other.

```
main thread   Boot ─► import the project ─► Ready ─► (Order ─► load, run to its end or its suspension ─► Done)*
line thread   hears Orders and cancels; kills all that belongs to this process when the worker is gone or silent
```

It is a guest of its worker's lease: it never registers, beats or leaves, and shows the server only the token of the
run at hand. SIGTERM does nothing here, since service managers send it to all processes of a service at once: the
worker decides, and lets runs end, or kills. SIGINT cancels the run.
"""

from __future__ import annotations

import contextlib
import contextvars
import gc
import os
import select
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import msgspec

from ostinato.authoring.load import distrust_bytecode, load_file, load_flow, put_project_first
from ostinato.authoring.project import find_modules, find_project
from ostinato.errors import OstinatoError, StoreError, UsageError
from ostinato.io.pickles import stand_in_for_main
from ostinato.launchers.line import Boot, Cancel, Done, Line, Message, Order, Ready
from ostinato.launchers.tree import adopt_orphans, end_with_all_below, resident
from ostinato.outcomes import failure_of
from ostinato.records import Commit, Event, RunEnd
from ostinato.runtime.claimed import ClaimedRun
from ostinato.runtime.last_words import write_before_exit
from ostinato.runtime.lone_sensor import flow_of_sensor
from ostinato.runtime.lone_task import lone_flow
from ostinato.runtime.session import Session
from ostinato.runtime.signals import interruptible
from ostinato.runtime.start import unloadable
from ostinato.runtime.surroundings import Surroundings
from ostinato.states import State

if TYPE_CHECKING:
    from ostinato.authoring.flow import Flow
    from ostinato.records import Run

_OUT_OF_REACH = (1000, 900, 500, 200, 60)
"""Where the line's descriptor is put, as far as the limit of open files allows."""
_LOW = 64
_MORE_LIKELY_KILLED = "500"
"""When the machine runs out of memory the kernel shall choose a run, not the worker."""


class Host:
    """Carries out the runs that its worker hands over, one at a time."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._pid = os.getpid()
        self._orders: SimpleQueue[Boot | Order] = SimpleQueue()
        self._claimed: ClaimedRun | None = None
        """The run at hand."""
        self._session: Session | None = None
        self._silence: float | None = None
        self._sources = _Sources()
        self._is_ambiguous = False
        """Several folders of the project have modules of one name, so a process serves runs of one folder only."""
        self._folder: str | None = None
        threading.Thread(target=self._listen, name="ostinato-line", daemon=True).start()

    def serve(self) -> None:
        """Carry out runs until the worker ends this process."""
        boot = self._orders.get()
        assert isinstance(boot, Boot)
        began = time.monotonic()
        self._silence = boot.silence or None
        broken = self._import_ahead(boot)
        with Session(boot.settings, guest="-") as session, interruptible(session):
            self._session = session
            write_before_exit(session)
            os.register_at_fork(after_in_child=self._be_a_copy)
            if not boot.bundled:
                self._sources.watch(boot.root)
            gc.collect()
            gc.freeze()
            self._line.send(Ready(time.monotonic() - began, broken))
            while True:
                order = self._orders.get()
                assert isinstance(order, Order)
                self._line.send(self._carry_out(boot, session, order))

    def _import_ahead(self, boot: Boot) -> dict[str, str]:
        """Import what runs here will need; what cannot be imported is told, and harms only its own runs."""
        broken: dict[str, str] = {}
        if not boot.bundled:
            distrust_bytecode(boot.root)
        put_project_first(boot.root)
        files = boot.targets
        if not files:
            try:
                modules = find_modules(find_project(boot.root))
            except OstinatoError as error:
                return {boot.root: str(error)}
            self._is_ambiguous = bool(modules.ambiguous)
            files = [] if self._is_ambiguous else modules.files
        for file in files:
            try:
                load_file(Path(file))
            except Exception as error:
                broken[file] = str(error)
        return broken

    def _why_stale(self, run: Run) -> str:
        """Say why what this process has imported is not what a run needs; empty if it is."""
        if self._sources.have_changed():
            return "the project's files have changed"
        folder = os.path.dirname((run.target or "").partition(".py:")[0])  # noqa: PTH120  # on every run
        if self._is_ambiguous and self._folder not in (None, folder):
            return f"it has imported modules of {self._folder or '.'} whose names others of {folder or '.'} have too"
        self._folder = folder
        return ""

    def _carry_out(self, boot: Boot, session: Session, order: Order) -> Done:
        run, claimed = order.run, self._claimed
        assert claimed is not None
        why = self._why_stale(run)
        if why:
            self._claimed = None
            return Done(run.id, "stale", why)
        _show_token(session, order.token)
        surroundings = Surroundings()
        try:
            outcome, message = contextvars.copy_context().run(_perform, boot, claimed)
        finally:
            if os.getpid() != self._pid:  # user code has forked, and this is the copy
                os._exit(0)
        surroundings.restore()
        _occupy_low_descriptors()
        session.interrupted.clear()
        self._claimed = None
        self._sources.look_again()
        return Done(run.id, outcome, message, surroundings.left_behind(), resident(self._pid))

    def _listen(self) -> None:
        """Hear the worker, on a thread of its own; end with it."""
        poll = select.poll()
        poll.register(self._line.fileno(), select.POLLIN)
        while True:
            silence = None if self._claimed is None or self._silence is None else self._silence * 1000
            ready = poll.poll(silence)
            if not ready:
                if self._claimed is not None:
                    _end("the worker was not heard of any more, so its lease is over")
                continue
            try:
                messages = self._line.read()
            except EOFError:
                _end("")
            for message in messages:
                self._hear(message)

    def _hear(self, message: Message) -> None:
        session, claimed = self._session, self._claimed
        if isinstance(message, Cancel):
            if session is not None and claimed is not None and claimed.run.id == message.run_id:
                session.ask(claimed.cancel)
        elif isinstance(message, Order):
            assert session is not None
            self._claimed = ClaimedRun(session, message.run)
            self._orders.put(message)
        elif isinstance(message, Boot):
            self._orders.put(message)

    def _be_a_copy(self) -> None:
        """In a process that user code forked off this one: neither the line nor the journal is its own."""
        self._line.close()
        if self._session is not None:
            for runner in list(self._session.runners.values()):
                runner.journal.failure = StoreError("This is a copy of the run's process: it writes nothing.")


class _Sources:
    """The project's files that this process has imported, to notice when one has changed."""

    def __init__(self) -> None:
        self._root = ""
        self._known: dict[str, int] = {}
        self._modules = 0

    def watch(self, root: str) -> None:
        """Watch the files below a folder, as they are now."""
        self._root = root.rstrip("/") + "/"
        self.look_again()

    def look_again(self) -> None:
        """Add what was imported since."""
        if not self._root or len(sys.modules) == self._modules:
            return
        self._modules = len(sys.modules)
        for module in list(sys.modules.values()):
            file = getattr(module, "__file__", None)
            if file and file not in self._known and file.startswith(self._root) and "-packages" not in file:
                self._known[file] = _changed_at(file)

    def have_changed(self) -> bool:
        """Tell whether one of them is not as it was."""
        return any(_changed_at(file) != at for file, at in self._known.items())


def _changed_at(file: str) -> int:
    try:
        return os.stat(file).st_mtime_ns  # noqa: PTH116  # a path costs three times as much, on every run
    except OSError:
        return 0


def _perform(boot: Boot, claimed: ClaimedRun) -> tuple[str, str]:
    """Run a run to its end or its suspension; how that went, and what the worker is to know of it."""
    session, run = claimed.session, claimed.run
    try:
        os.chdir(run.cwd if run.cwd is not None and Path(run.cwd).is_dir() else boot.root)
        flow = _load(session, run, boot.root)
    except (UsageError, OSError) as error:
        return "unloadable", str(error)
    except Exception as error:
        return "unloadable", failure_of(error).traceback
    try:
        try:
            ending = claimed.carry_out(flow)
        except (OstinatoError, ValueError) as error:
            _fail_unbegun(session, run, error)
            return "ended", ""
    except StoreError as error:
        return "lost", str(error)
    return ("lost", str(ending.error)) if ending.how == "lost" else ("ended", "")


def _load(session: Session, run: Run, root: str) -> Flow[Any, Any]:
    if run.target is None:
        raise unloadable(run)
    if run.kind == "sensor":
        return flow_of_sensor(run, root, session)
    flow = lone_flow(run, root) if run.kind == "task" else load_flow(run.target, root)
    module = sys.modules.get(flow.fn.__module__)
    if module is not None:
        stand_in_for_main(module)
    return flow


def _fail_unbegun(session: Session, run: Run, error: BaseException) -> None:
    """End a run whose body could not be begun with what it was given."""
    now = session.clock.now()
    data = msgspec.json.encode({"flow": run.flow, "reason": "parameters"}).decode()
    event = Event(at=now, kind="run.failed", run_id=run.id, data=data)
    end = RunEnd(state=State.FAILED, reason="parameters", finished_at=now, error=failure_of(error).to_json())
    session.store.commit(run.id, run.epoch, Commit(events=[event], end=end))


def _show_token(session: Session, token: str) -> None:
    """Show the server the token of the run at hand; the results follow the store's."""
    if token and hasattr(session.store, "token"):
        session.store.token = token


def _end(why: str) -> None:
    """End this process and all that it has started, at once: there is nobody to tell."""
    if why:
        os.write(2, f"ostinato: run process {os.getpid()} ends: {why}.\n".encode())
    end_with_all_below()


def _occupy_low_descriptors() -> None:
    """Leave user code that closes low descriptors nothing of ours to close: ours are opened above these."""
    null = os.open(os.devnull, os.O_RDWR)
    while (fd := os.dup(null)) < _LOW:
        pass
    os.close(fd)
    if null >= _LOW:
        os.close(null)


def _out_of_reach(fd: int) -> int:
    """Put a descriptor where user code that closes the low ones does not find it."""
    import fcntl

    for place in _OUT_OF_REACH:
        try:
            moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, place)
        except (OSError, ValueError):
            continue
        os.close(fd)
        return moved
    return fd


def main() -> None:
    """Serve the worker at the other end of a descriptor."""
    import faulthandler

    line = Line(socket.socket(fileno=_out_of_reach(int(sys.argv[1]))))
    del sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: None)
    faulthandler.enable()
    adopt_orphans()
    _occupy_low_descriptors()
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_MORE_LIKELY_KILLED, encoding="ascii")
    Host(line).serve()


if __name__ == "__main__":
    main()
