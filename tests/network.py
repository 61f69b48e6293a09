"""A server in a thread of the test, and a network in front of it that can be made to fail.

``ServerThread`` is a real uvicorn around the real app; it can be stopped and started again on the same port. ``Proxy``
passes bytes between a client and it, and can refuse, cut, delay, or swallow replies after the request went through.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Self

import uvicorn
from tests.process import until

from ostinato.io.results import ResultStore
from ostinato.loops.dispatcher import Dispatcher
from ostinato.server.app import make_app
from ostinato.server.served import Served
from ostinato.server.threads import Threads
from ostinato.server.writer import Writer
from ostinato.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ostinato.store.store import Store


class ServerThread:
    """A server around a store, in a thread.

    Args:
        open_store: Opens the store; called at each start.
        results: The folder of its result store.
        port: 0 for any that is free; a second start takes the same again.
        is_open: Whether requests without a token are let in.
    """

    def __init__(self, open_store: Callable[[], Store], results: Path, *, port: int = 0, is_open: bool = True) -> None:
        self._open_store, self._results, self._is_open = open_store, results, is_open
        self.port = port
        self.served: Served | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def store(self) -> Store:
        """The store behind it."""
        assert self.served is not None
        return self.served.store

    def start(self) -> None:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(128)
        self.port = listener.getsockname()[1]
        store = self._open_store()
        threads = Threads(8, "store")
        writer = Writer(store, threads)
        self.served = Served(
            store=store,
            results=ResultStore(str(self._results)),
            settings=Settings(),
            dispatcher=Dispatcher(store, writer.call),
            threads=threads,
            writer=writer,
            name="test",
            is_open=self._is_open,
        )
        config = uvicorn.Config(make_app(self.served), log_level="error", access_log=False, lifespan="on")
        config.timeout_graceful_shutdown = 1
        self._server = uvicorn.Server(config)

        def serve() -> None:
            self._server.run(sockets=[listener])
            threads.shutdown()
            store.close()
            listener.close()

        self._thread = threading.Thread(target=serve, name="test-server", daemon=True)
        self._thread.start()
        until(lambda: self._server.started, "the server to start")

    def stop(self) -> None:
        """End it; who asks now is refused."""
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()

    def restart(self) -> None:
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self.stop()


class Proxy:
    """A TCP proxy to a port of this machine, in a thread.

    Attributes:
        refuses: New connections are closed at once.
        loses_replies: How many more replies are swallowed, their connections cut once the server has answered.
        delay: Seconds that each piece takes.
        passed: How many bytes went up.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self.refuses = False
        self.loses_replies = 0
        self.lost = 0
        self.delay = 0.0
        self.passed = bytearray()
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._meet, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._run, name="test-proxy", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Break all connections there are."""
        self._do(self._cut)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        self._loop.run_forever()
        self._server.close()
        self._cut()
        if tasks := asyncio.all_tasks(self._loop):
            self._loop.run_until_complete(asyncio.wait(tasks, timeout=10))
        self._loop.close()

    def _do(self, work: Callable[[], None]) -> None:
        async def later() -> None:
            work()

        asyncio.run_coroutine_threadsafe(later(), self._loop).result(10)

    def _cut(self) -> None:
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuses:
            writer.transport.abort()
            return
        try:
            up, out = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, out}
        try:
            await asyncio.gather(self._pass(reader, out, is_reply=False), self._pass(up, writer, is_reply=True))
        finally:
            self._writers -= {writer, out}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_reply: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if self.delay:
                    await asyncio.sleep(self.delay)
                if not is_reply:
                    self.passed += data
                elif self.loses_replies:
                    self.loses_replies -= 1
                    self.lost += 1
                    break
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
        if is_reply and self.lost:
            self._cut()
