"""One server as a process: where it listens, what it opens, and how it ends.

```
take the port ─► open the store ─► may it listen there? ─► serve ─► told to stop ─► send waiters away ─► close
```

The port is taken first, so that a second server on it says so at once and touches nothing. A server is not registered
as a worker: that would cost an idle one a dozen queries a minute for a line in a listing.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

import msgspec
import uvicorn

from ostinato.errors import StoreUnavailableError, UsageError
from ostinato.io.results import ResultStore
from ostinato.loops.dispatcher import Dispatcher
from ostinato.loops.start import start_loops
from ostinato.server.accounts import has_way_in
from ostinato.server.app import make_app
from ostinato.server.gate import is_loopback
from ostinato.server.protocol import Protocol
from ostinato.server.served import Served
from ostinato.server.threads import Threads
from ostinato.server.writer import Writer
from ostinato.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from ostinato.server.metrics import Metrics
    from ostinato.settings import Settings
    from ostinato.store.store import Store

HOST: Final = "127.0.0.1"
PORT: Final = 4600
_ANY: Final = "0.0.0.0"  # noqa: S104  # only its name
_ALL: Final = {_ANY: HOST, "::": "::1", "": HOST}
"""Hosts that are all addresses, each with the one by which it is reached from this machine."""
_THREADS: Final = 12
_WRITERS: Final = 4
"""Into a SQLite file one writes at a time, and threads that wait for their turn only get in the way."""
_PATIENCE: Final = 30.0
"""Seconds to wait for a database that does not answer yet."""
_PAUSE: Final = 0.25
_log = logging.getLogger("ostinato.internal")
_GRACE: Final = 3
"""Seconds that requests under way have to end when the server stops."""


class Serving:
    """A server that is about to serve: its port is taken, its store is open.

    Args:
        settings: Where the store and the results are.
        host: The address to listen on.
        port: The port; 0 for any that is free.

    Raises:
        UsageError: If the port is taken, or the address is not of this machine only and nobody could log in.
    """

    def __init__(self, settings: Settings, *, host: str = HOST, port: int = PORT) -> None:
        with ExitStack() as opened:
            self._socket = opened.enter_context(_bound(host, port))
            self.store = _opened(settings)
            opened.callback(self.store.close)
            self.port: int = self._socket.getsockname()[1]
            self.served = _served(settings, self.store, host, self.port)
            opened.callback(self.served.threads.shutdown)
            opened.callback(self.served.writer.shutdown)
            self._closing = opened.pop_all()
        self.url = f"http://{_in_url(_ALL.get(host, host))}:{self.port}"
        """How it is reached from this machine."""
        self.bound = f"http://{_in_url(host or _ANY)}:{self.port}"
        """Where it listens."""
        self._server = _Server(self.served)
        self.app = self._server.app

    def run(self, ready: Callable[[str], None] | None = None) -> None:
        """Serve until somebody stops it: `stop`, SIGTERM or SIGINT.

        Args:
            ready: Told the URL once requests are answered.
        """
        self._server.ready = lambda: ready(self.url) if ready is not None else None
        with self._closing:
            self._server.run([self._socket])

    def stop(self) -> None:
        """Let it stop; from any thread."""
        self._server.should_exit = True


def _opened(settings: Settings) -> Store:
    """Open the database; wait for one that is just being started, as when both come up together."""
    until = time.monotonic() + _PATIENCE
    told = False
    while True:
        try:
            return open_store(
                settings.database_url,
                durability=settings.durability,
                lease=settings.lease,
                max_recoveries=settings.max_recoveries,
            )
        except StoreUnavailableError as error:
            if time.monotonic() > until or not settings.database_url.startswith("postgres"):
                raise
            if not told:
                _log.warning("%s Waiting for it, %.0f s at most.", error, _PATIENCE)
            told = True
        time.sleep(_PAUSE)


class _Server(uvicorn.Server):
    """uvicorn, but it sends those who only wait away before it waits for them, and a signal ends it in order."""

    def __init__(self, served: Served) -> None:
        @asynccontextmanager
        async def loops(metrics: Metrics) -> AsyncIterator[None]:
            stop = start_loops(served, observed=metrics.loop)
            try:
                yield
            finally:
                await stop()

        self.app = make_app(served, loops=loops)
        super().__init__(
            uvicorn.Config(
                self.app,
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ws="none",
                http=Protocol,
                timeout_graceful_shutdown=_GRACE,
            )
        )
        self._served = served
        self.ready: Callable[[], None] = lambda: None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._served.close()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            yield
            self._captured_signals.clear()  # it has ended as it was told to: nothing else need hear of it


def _served(settings: Settings, store: Store, host: str, port: int) -> Served:
    is_open = not store.list_users()
    if not is_loopback(host):
        is_open = False
        if not has_way_in(store):
            raise UsageError(
                f"On {host} others than this machine reach the server, so somebody must be able to log in: there is "
                "no admin with a token yet. Make one: `ostinato users create NAME --role admin`."
            )
    writer = Writer(store, Threads(_WRITERS, "ostinato-writer"))
    return Served(
        store=store,
        results=ResultStore(msgspec.structs.replace(settings, api="").results_url),
        settings=settings,
        dispatcher=Dispatcher(store, writer.call),
        threads=Threads(_THREADS, "ostinato-store"),
        writer=writer,
        name=f"{socket.gethostname()}:{port}/{os.getpid()}",
        is_open=is_open,
    )


def _bound(host: str, port: int) -> socket.socket:
    """Take the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # the protocol is named, or asyncio leaves Nagle's algorithm on: 40 ms an answer
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"Port {port} on {host} is taken{_holder(port)}. Stop it, or use --port.") from None
        raise UsageError(
            f"The server cannot listen on {host} port {port}: {error.strerror}. Use --host, --port."
        ) from None
    return listener


def _holder(port: int) -> str:
    """Name the process that listens on a port, where that can be known."""
    import psutil  # only where it is needed: it takes its time

    try:
        for found in psutil.net_connections("tcp"):
            if found.status == psutil.CONN_LISTEN and found.laddr.port == port and found.pid is not None:
                name = " ".join(psutil.Process(found.pid).cmdline())[:120]
                return f" by process {found.pid} ({name})"
    except psutil.Error:
        pass
    return ""


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
