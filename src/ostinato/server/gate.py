"""What every request passes before it reaches a route, and what every answer passes on its way out.

```
request ─► this server's name? ─► our pages only ─► a protocol we speak ─► who is it? ─► how large? ─► routes
answer  ◄─ counted and timed ◄─ errors nobody foresaw ◄─ ended when the server stops ◄──────────────────┘
```

Plain ASGI: it costs microseconds, and streams pass through. An open server trusts whoever reaches it, so a page of
another site must not reach it through a browser on this machine: neither under a name of its own that leads to
127.0.0.1 (the `Host` is checked), nor by sending a form across (`Origin` and `Sec-Fetch-Site` are, on all writes).
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from ostinato.errors import AccessError, OstinatoError, ProtocolError, StoreUnavailableError
from ostinato.link import PROTOCOL
from ostinato.server.problems import TooLargeError, problem_of, unexpected

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ostinato.server.access import Doorkeeper
    from ostinato.server.metrics import Metrics
    from ostinato.server.served import Served

_LIMIT: Final = 8 << 20
_OWN_LIMIT: Final = ("/api/store/", "/api/blobs/")
"""These routes bound their bodies themselves."""
_LONG_POLLS: Final = frozenset({"/api/store/claim", "/api/store/await_runs", "/api/store/await_events"})
_SIGNED: Final = "/api/webhooks/"
"""What is sent here is signed, and that is the login: it comes from anywhere, under any name of this server."""
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_PUBLIC: Final = frozenset({"/api/health", "/api/ready", "/api/openapi.json"})


class Gate:
    """Stands before the routes.

    Args:
        app: The routes.
        served: The server.
        doorkeeper: Knows who shows which token.
        metrics: Where requests are counted.
    """

    def __init__(self, app: ASGIApp, *, served: Served, doorkeeper: Doorkeeper, metrics: Metrics) -> None:
        self._app = app
        self._served = served
        self._doorkeeper = doorkeeper
        self._metrics = metrics
        self._waiting: set[asyncio.Task[Any]] = set()
        served.on_close(self._end_long_polls)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request; whatever is no request passes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._pass(scope, receive, noted)
        except Exception as error:
            answer = problem_of(error) if isinstance(error, OstinatoError) else unexpected(error)
            if not status:  # an answer that has begun is cut off: whoever reads it sees that it is not whole
                await answer(scope, receive, noted)
        finally:
            self._metrics.request(scope, status, time.perf_counter() - started)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, path = Headers(scope=scope), scope["path"]
        is_signed = scope["method"] == "POST" and path.startswith(_SIGNED)
        if self._served.is_open and not is_signed:
            _check_host(headers)
            _check_origin(scope["method"], headers)
        _check_protocol(headers)
        if _is_private(path) and not is_signed:
            scope.setdefault("state", {})["who"] = await self._doorkeeper.authenticate(headers)
        if not path.startswith(_OWN_LIMIT):
            receive = _bounded(headers, receive)
        if path in _LONG_POLLS:
            await self._wait(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _wait(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a long poll wait until there is an answer, or the server stops."""
        task = asyncio.current_task()
        assert task is not None
        self._waiting.add(task)
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if not self._served.closing:
                raise
            task.uncancel()
            raise StoreUnavailableError("This server is being stopped. Ask again: another may answer.") from None
        finally:
            self._waiting.discard(task)

    def _end_long_polls(self) -> None:
        for task in self._waiting:
            task.cancel()


def _is_private(path: str) -> bool:
    return (path.startswith("/api") and path not in _PUBLIC) or path == "/metrics"


def _bounded(headers: Headers, receive: Receive) -> Receive:
    """Refuse a body that says it is too large, and stop reading one that does not say so."""
    said = headers.get("content-length", "")
    if said.isdigit() and int(said) > _LIMIT:
        raise_later = TooLargeError(_LIMIT)

        async def refuse() -> Message:
            raise raise_later

        return refuse
    read = 0

    async def counted() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > _LIMIT:
            raise TooLargeError(_LIMIT)
        return message

    return counted


def _check_protocol(headers: Headers) -> None:
    spoken = headers.get("ostinato-protocol")
    if spoken is None or spoken == str(PROTOCOL):
        return
    if not spoken.isdigit():
        raise ProtocolError(f"Ostinato-Protocol is a number, {PROTOCOL} for this server, not {spoken[:20]!r}.")
    older, what = ("This server", "it") if int(spoken) > PROTOCOL else ("The client", "the client")
    raise ProtocolError(
        f"{older} is the older: the server speaks protocol {PROTOCOL}, the client {spoken}. Upgrade {what}."
    )


def _check_host(headers: Headers) -> None:
    host = headers.get("host", "")
    if not is_loopback(_host_of(host)):
        raise AccessError(
            f"This server is open to this machine only and answers under 127.0.0.1 or localhost, not {host[:80]!r}. To "
            "use another name, make a user (`ostinato users create`): it then asks for tokens."
        )


def _check_origin(method: str, headers: Headers) -> None:
    if method in _READS:
        return
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
    same = origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
    if not same or site not in {"none", "same-origin"}:
        raise AccessError(
            f"A page of another site ({(origin or site)[:80]}) may not change anything here. Make a user "
            "(`ostinato users create`) and let it show a token."
        )


def _host_of(netloc: str) -> str:
    try:
        return urlsplit(f"//{netloc}").hostname or ""
    except ValueError:
        return ""


@functools.lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, and nothing but it."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
