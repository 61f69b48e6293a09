"""HTTP to an Ostinato server: connections that are kept, and requests that outlive a server's restart.

```
call ─► connection (kept, or a new one) ─► head and body in one segment ─► reply
          │ away: refused, reset, timed out, 502-504
          └─► wait a little longer each time, try again at the next server, until patience ends
```

Written over plain sockets because it stands on the hot path of every run: 25 µs of processor time a request, where
`http.client` takes 115 and urllib3 239, and no import worth mention, where they take 35 and 98 ms (docs/adr/0009).
It speaks to one server at a time, sends what it knows, and reads what HTTP/1.1 allows to come back: a length, chunks,
or the end of the connection. The result store and the store both go through it.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from ostinato import errors
from ostinato.connection import Connection, LostError, Reply, Stream
from ostinato.errors import (
    AccessError,
    OstinatoError,
    ParameterError,
    ProtocolError,
    SettingError,
    StoreError,
    StoreUnavailableError,
)
from ostinato.settings import urls_of

if TYPE_CHECKING:
    from collections.abc import Iterator

PROTOCOL: Final = 1
"""The version of what our clients and servers say to each other: header ``Ostinato-Protocol``."""
RUN_TOKEN: Final = "ostr_"  # noqa: S105  # how a run's token begins

PATIENCE: Final = 30.0
PATIENCE_OF_A_RUN: Final = 90.0
_PATIENCE_AT_FIRST: Final = 2.0
"""Seconds to wait for a server that has not answered this process yet: it is more likely a wrong address."""
_CONNECT: Final = 5.0
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0
_IDLE: Final = 8
_AWAY: Final = (502, 503, 504)


class Link:
    """The way to a server, or to any of several that share a database, for all threads of a process.

    Args:
        url: ``http://host:port`` or ``https://…``, with a path where the server lies behind one. Several are separated
            by commas: while the one that is asked is away, the next one is.
        token: What is shown to the server. It may be changed at any time.
        patience: Seconds for which a server that is away is waited for; None for 90 with a run's token, else 30.

    Raises:
        SettingError: If that is no such URL.
    """

    def __init__(self, url: str, *, token: str = "", patience: float | None = None) -> None:
        self.token = token
        self._patience = patience
        self._servers = [_Server(one) for one in urls_of(url)]
        self._server = self._servers[0]
        self._pid = os.getpid()
        self._context: Any = None
        self._lock = threading.Lock()
        self.has_met = False
        self.is_closed = False

    @property
    def url(self) -> str:
        """The server that is asked now."""
        return self._server.url

    @property
    def names(self) -> str:
        """All servers that may be asked, for a message."""
        return " or ".join(server.url for server in self._servers)

    def close(self) -> None:
        """Close the connections that are kept. Closing twice is harmless."""
        self.is_closed = True
        self.drop()

    @property
    def patience(self) -> float:
        """How long a server that is away is waited for, in seconds."""
        if self._patience is not None:
            return self._patience
        if self.token.startswith(RUN_TOKEN):
            return PATIENCE_OF_A_RUN
        return PATIENCE if self.has_met else _PATIENCE_AT_FIRST

    def call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        media: str = "application/msgpack",
        timeout: float = 30.0,
        patience: float | None = None,
        again: bool = True,
    ) -> Reply:
        """Make a request, again and again while the server is away.

        Args:
            method: ``GET``, ``POST`` …
            path: Below the link's URL, with its slash.
            body: What is sent.
            media: The type of the body.
            timeout: Seconds to wait for each piece of the answer.
            patience: Instead of the link's own.
            again: Whether it may be sent again when it is not known if it went through.

        Returns:
            The reply, its status below 400, or 404 where something was only looked for.

        Raises:
            OstinatoError: What the server says went wrong.
            StoreUnavailableError: If it stays away.
        """
        trouble = Trouble(self, patience)
        while True:
            shown, began = self.token, time.monotonic()
            try:
                with self._exchange(method, path, body, media, timeout) as connection:
                    reply = Reply(connection.status, connection.headers, connection.read_all(method))
            except LostError as lost:
                if lost.may_have_arrived and not again:
                    raise self._unsure(f"{method} {path}", lost) from lost
                trouble.bear(lost)
                continue
            if reply.status not in _AWAY:
                self.has_met = True
                return self._settle(reply, method, shown)
            error = to_error(reply, self.url)
            if not again or not isinstance(error, StoreUnavailableError):
                raise error
            trouble.bear(error, began)  # the server has waited for its database itself

    @contextlib.contextmanager
    def stream(self, path: str, body: bytes, *, timeout: float = 60.0) -> Iterator[Stream]:
        """Make a request whose answer is read in pieces.

        Raises:
            OstinatoError: What the server says went wrong.
            LostError: If it is away, or the answer breaks off; `Trouble` says whether to try again.
        """
        with self._exchange("POST", path, body, "application/msgpack", timeout) as connection:
            if connection.status == 200:  # noqa: PLR2004  # HTTP's own
                yield Stream(connection)
                return
            reply = Reply(connection.status, connection.headers, connection.read_all("POST"))
        error = to_error(reply, self.url)
        if reply.status in _AWAY and isinstance(error, StoreUnavailableError):
            raise LostError(str(error), may_have_arrived=True)
        raise error

    def _settle(self, reply: Reply, method: str, shown: str) -> Reply:
        """Take in what an answer says besides; raise the error that it is."""
        renewed = reply.headers.get("ostinato-token")
        if renewed is not None and self.token == shown:  # not that of the next run, which the process has begun
            self.token = renewed
        if reply.status >= 400 and not (reply.status == 404 and method != "POST"):  # noqa: PLR2004  # HTTP's own
            raise to_error(reply, self.url)
        return reply

    def _unsure(self, what: str, why: object) -> StoreUnavailableError:
        return StoreUnavailableError(
            f"The connection to {self.url} was lost in the middle of {what} ({why}), so it is not known whether it "
            "went through. Look before you try again."
        )

    # --- connections

    @contextlib.contextmanager
    def _exchange(self, method: str, path: str, body: bytes, media: str, timeout: float) -> Iterator[Connection]:
        """Send a request and read the head of its answer; who gets it reads the rest."""
        server = self._server
        connection = self._connect(server)
        try:
            connection.send(self._compose(server, method, path, body, media), body, timeout)
            connection.read_head()
            yield connection
        except (OSError, ValueError) as error:
            arrived = connection.is_sent
            connection.close()
            self._turn_from(server)
            raise LostError(_brief(error), may_have_arrived=arrived) from error
        except BaseException:
            connection.close()
            raise
        if connection.is_free and not self.is_closed and len(server.idle) < _IDLE:
            server.idle.append(connection)
        else:
            connection.close()
        if connection.status in _AWAY:
            self._turn_from(server)

    def _turn_from(self, server: _Server) -> None:
        """Ask the next server from now on, unless another thread has turned from this one already."""
        with self._lock:
            if self._server is server:
                self._server = self._servers[(self._servers.index(server) + 1) % len(self._servers)]

    def _compose(self, server: _Server, method: str, path: str, body: bytes, media: str) -> str:
        token = f"Authorization: Bearer {self.token}\r\n" if self.token else ""
        kind = f"Content-Type: {media}\r\n" if body else ""
        return (
            f"{method} {server.path}{path} HTTP/1.1\r\n{server.start}{token}{kind}"
            f"Content-Length: {len(body)}\r\nAccept-Encoding: gzip\r\n"
        )

    def _connect(self, server: _Server) -> Connection:
        if self.is_closed:
            raise StoreUnavailableError(f"The store at {self.url} has been closed.")
        if self._pid != os.getpid():  # a fork must not write into its parent's conversations
            self._pid = os.getpid()
            for one in self._servers:
                one.idle = []
        while server.idle:
            with contextlib.suppress(IndexError):  # another thread was quicker
                connection = server.idle.pop()
                if connection.is_quiet():
                    return connection
                connection.close()
        try:
            return Connection(self._dial(server))
        except OSError as error:
            self._turn_from(server)
            raise LostError(_brief(error), may_have_arrived=False) from error

    def _dial(self, server: _Server) -> socket.socket:
        dialled = socket.create_connection((server.host, server.port), timeout=_CONNECT)
        dialled.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        dialled.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if not server.tls:
            return dialled
        import ssl  # 10 ms, and only where there is TLS

        with self._lock:
            self._context = self._context or ssl.create_default_context()
        wrapped: socket.socket = self._context.wrap_socket(dialled, server_hostname=server.host)
        return wrapped

    def drop(self) -> None:
        """Close the connections that are kept and not in use: they may be dead."""
        for server in self._servers:
            while server.idle:
                with contextlib.suppress(IndexError):
                    server.idle.pop().close()


class _Server:
    """Where a server is, and the connections to it that are kept."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.host, self.port, self.path, self.tls = _parse(url)
        self.start = f"Host: {urlsplit(url).netloc.rpartition('@')[2]}\r\nOstinato-Protocol: {PROTOCOL}\r\n"
        self.idle: list[Connection] = []


class Trouble:
    """A server that is away: how long it has been, and how long to wait before the next try."""

    def __init__(self, link: Link, patience: float | None = None) -> None:
        self._link, self._patience = link, patience
        self._since: float | None = None
        self._pause = _FIRST_PAUSE

    def bear(self, why: LostError | OstinatoError, since: float | None = None) -> None:
        """Wait a moment.

        Args:
            why: What has gone wrong.
            since: Since when, by the monotonic clock; by default since now.

        Raises:
            StoreUnavailableError: If it has been away for too long.
        """
        now = time.monotonic()
        if self._since is None:
            self._since = now if since is None else since
        patience = self._link.patience if self._patience is None else self._patience
        if self._link.is_closed or now + self._pause > self._since + patience:
            raise self._explain(why) from why
        self._link.drop()
        time.sleep(self._pause * random.uniform(0.5, 1.0))
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def forget(self) -> None:
        """Begin to count anew: the server has answered."""
        self._since, self._pause = None, _FIRST_PAUSE

    def _explain(self, why: LostError | OstinatoError) -> OstinatoError:
        url = self._link.names
        if isinstance(why, OstinatoError):
            return why
        if self._link.is_closed:
            return StoreUnavailableError(f"The store at {url} has been closed.")
        return StoreUnavailableError(
            f"The server {url} cannot be reached: {why}. Look whether it runs (`ostinato server`), and whether "
            "OSTINATO_API names it rightly."
        )


class Problem(msgspec.Struct, frozen=True):
    """An error as it travels: ``application/problem+json``."""

    type: str = "about:blank"
    title: str = ""
    detail: str = ""
    fields: dict[str, str] = {}


def to_error(reply: Reply, url: str) -> OstinatoError:
    """Turn an answer that says no into the error of the same name."""
    try:
        problem = msgspec.json.decode(reply.body, type=Problem)
    except msgspec.DecodeError:
        text = reply.body[:200].decode("utf-8", "replace").strip().partition("\n")[0]
        problem = Problem(detail=f"{url} answered {reply.status}{': ' + text if text else ''}.")
    message = problem.detail or problem.title
    kind = getattr(errors, problem.type.removeprefix("urn:ostinato:"), None)
    if reply.status in (401, 403) and kind in (None, AccessError):
        return AccessError(f"{message} {_ADVICE[reply.status]}" if kind is None else message)
    if kind is ParameterError:
        return ParameterError(message, dict(problem.fields))
    if isinstance(kind, type) and issubclass(kind, OstinatoError):
        return kind(message)
    if reply.status == 426:  # noqa: PLR2004  # upgrade required
        return ProtocolError(message)
    return (StoreUnavailableError if reply.status in _AWAY else StoreError)(message)


_ADVICE: Final = {
    401: "Set OSTINATO_TOKEN to a token of this server: an admin makes one with `ostinato tokens create`.",
    403: "Ask an admin of this server for a token whose role allows it.",
}


def _parse(url: str) -> tuple[str, int, str, bool]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        message = f"A server's address is http://HOST:PORT or https://HOST, not {url!r}. Correct OSTINATO_API."
        raise SettingError(message)
    is_tls = parts.scheme == "https"
    return parts.hostname, port or (443 if is_tls else 80), parts.path.rstrip("/"), is_tls


def _brief(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return "it did not answer in time" if isinstance(error, TimeoutError) else text
