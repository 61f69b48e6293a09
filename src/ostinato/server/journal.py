"""The store over HTTP, the server's side: ``POST /api/store/<verb>``, for our own programs only.

```
body, bounded ─► unpacked ─► decoded by wire.VERBS ─► role, scope ─► store.<verb> in a thread ─► encoded ─► packed
                                                                       └─► Served.changed(), stored.set()
```

Plain Starlette: this is the hot path of every run. Only `claim` and `await_runs` wait, and they wait on the loop;
everything else, decoding too, is done in one go in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from ostinato.access import Role
from ostinato.connection import COMPRESSED_FROM, pack, unpack
from ostinato.errors import AccessError, OstinatoError, StoreError, UnknownRunError, UsageError, nearest
from ostinato.runtime.asking import answer_as
from ostinato.runtime.auditing import LOCAL, audit
from ostinato.runtime.cancelling import cancel_run
from ostinato.server import blobs
from ostinato.server.grants import await_slots
from ostinato.server.happened import await_events
from ostinato.server.problems import TooLargeError, problem, problem_of, unexpected
from ostinato.server.scopes import Scopes
from ostinato.server.tokens import is_half_over, sign_run
from ostinato.store import wire
from ostinato.store.happenings import keys_of
from ostinato.waiting import check_emitted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from starlette.requests import Request

    from ostinato.access import Who
    from ostinato.server.served import Served
    from ostinato.store.wire import Verb
    from ostinato.work import Claim, RunBrief

_MEDIA: Final = "application/msgpack"
_SHORT_WRITES: Final = frozenset({"commit", "create", "beat", "enter"})
_FEW: Final = 8
"""So many claims are signed on the loop: it takes less time than to have a thread do it."""
_MOST_AWAITED: Final = 10_000
"""Ids of runs that one `await_runs` names at most, or events that one `await_events` seeks."""


def routes() -> list[Route]:
    """Return the routes of the store and of the result store; they stand in no public description."""
    return [
        Route("/api/store/{verb}", perform, methods=["POST"], include_in_schema=False),
        *blobs.routes(),
    ]


class Journal:
    """What the routes keep for one server: who descends from whom, and the secret that signs runs' tokens."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.scopes = Scopes(served.store)
        self._secret: bytes | None = None

    @property
    def has_secret(self) -> bool:
        """Whether `secret` is known, so that nobody need be asked for it."""
        return self._secret is not None

    @property
    def secret(self) -> bytes:
        """What signs the tokens of runs; asked of the store once, by a thread that may block."""
        if self._secret is None:
            self._secret = self.served.store.secret("run_tokens")
        return self._secret


_journals: weakref.WeakKeyDictionary[Any, Journal] = weakref.WeakKeyDictionary()


def _journal_of(request: Request) -> Journal:
    app = request.app
    found = _journals.get(app)
    if found is None or found.served is not app.state.served:
        found = _journals[app] = Journal(app.state.served)
    return found


async def perform(request: Request) -> Response:
    """Carry out a verb of the store for whoever may."""
    journal, who = _journal_of(request), request.state.who
    try:
        verb = _find_verb(request.path_params["verb"])
        _check_role(who, verb)
        body = await _read(request)
        token = _token_of(request, who)
        if verb.name in _WAITING:
            return await _WAITING[verb.name](_Call(journal, who, verb, token), body, request)
        return await _do(_Call(journal, who, verb, token), body)
    except OstinatoError as error:
        return _refuse(error)
    except ClientDisconnect:
        return Response(status_code=400)  # nobody hears it


async def _do(call: _Call, body: _Body) -> Response:
    """Carry it out in a thread; what follows from it is told on the loop, which need not be woken for that."""
    served = call.served
    in_thread = served.write if call.verb.name in _SHORT_WRITES else served.call
    response = await in_thread(lambda: call.perform(body))
    if call.happened:
        served.happened.tell(call.happened)
    if call.has_stirred:
        served.changed()
    elif call.has_stored:
        served.stored.set()
    return response


class MalformedError(StoreError):
    """What came is not what the verb takes; our own clients never send it."""


def _refuse(error: OstinatoError) -> Response:
    if isinstance(error, MalformedError):
        return problem(400, "Malformed request", str(error), kind="urn:ostinato:StoreError")
    if type(error) is StoreError:
        return problem(500, "The store cannot do it", str(error), kind="urn:ostinato:StoreError")
    return problem_of(error)


class _Call:
    """One request, in a thread that may block."""

    def __init__(self, journal: Journal, who: Who, verb: Verb, token: str) -> None:
        self.journal, self.who, self.verb, self.token = journal, who, verb, token
        self.served = journal.served
        self.has_stored = self.has_stirred = False
        self.happened: list[str] = []
        """The kinds and keys of events that a run has emitted."""

    def perform(self, body: _Body) -> Response:
        """Decode, check, call, encode."""
        try:
            return self.answer(self._call(self.decode(body)))
        except OstinatoError as error:
            return _refuse(error)
        except Exception as error:  # what nobody foresaw must not cost the connection, which others wait for too
            return unexpected(error)

    def decode(self, body: _Body) -> Any:
        """Read the arguments, and refuse what this token may not ask.

        Raises:
            MalformedError: If they are not what the verb takes.
            AccessError: If they name what it may not reach.
        """
        request = _decode(self.verb, body)
        if self.who.role is Role.RUN:
            self.journal.scopes.check(self.who, self.verb, request)
        elif self.who.pools:
            _check_pools(self.who, request)
        return request

    def _call(self, request: Any) -> Any:
        name, store = self.verb.name, self.served.store
        if name in ("emit", "commit"):
            self._check_events(request.events if name == "emit" else request.entries.events)
        if name == "create" and self.who.name != LOCAL and self.who.role is not Role.RUN:
            request.run.created_by = self.who.name  # it is put on record
        if name == "request_cancel":
            found: Any = cancel_run(store, request.run_id)  # whoever asks, its child runs go with it
        elif name == "answer":
            found = answer_as(store, self.who, request.ask_id, request.by, request.values)
        else:
            found = getattr(store, name)(**_arguments(self.verb, request))
        if self.verb.audited and self.who.name != LOCAL and self.who.role not in (Role.WORKER, Role.RUN):
            _audit(self, request)
        if name == "create" and self.who.role is Role.RUN:
            self.journal.scopes.grant(self.who, request.run, found)
        self.has_stored = name in ("commit", "emit")
        if name == "commit":
            self.happened = keys_of(request.entries.events)
        is_over = name == "commit" and bool(request.entries.end or request.entries.suspend)
        self.has_stirred = self.verb.stirs or is_over or bool(self.happened)
        return found

    def _check_events(self, events: Any) -> None:
        """Refuse what only the server itself may tell, and kinds of ours as if users had emitted them."""
        for event in events:
            if event.key is not None:
                check_emitted(event.kind, event.key)
            elif event.kind.startswith("audit."):
                raise AccessError("Events of kind audit.… are made by the server itself, and by nobody else.")

    def answer(self, found: Any) -> Response:
        """Encode a result, and renew the token of a run that is held."""
        data = wire.encode(found)
        response = Response(data, media_type=_MEDIA)
        if len(data) >= COMPRESSED_FROM:
            response = Response(pack(data), media_type=_MEDIA, headers={"Content-Encoding": "gzip"})
        if self.token and (renewed := self._renewed()):
            response.headers["Ostinato-Token"] = renewed
        return response

    def _renewed(self) -> str | None:
        now = _now()
        if self.who.run_id is None or not is_half_over(self.journal.secret, self.token, now):
            return None
        with contextlib.suppress(UnknownRunError):
            if self.served.store.get_run(self.who.run_id).worker_id is not None:
                return sign_run(self.journal.secret, self.who.run_id, now)
        return None

    def signed(self, claims: list[Claim]) -> Response:
        """Give each claim the token of its run."""
        secret, now = self.journal.secret, _now()
        return self.answer(
            [msgspec.structs.replace(claim, token=sign_run(secret, claim.run.id, now)) for claim in claims]
        )


# --- the verbs that wait, and the one that streams


async def _claim(call: _Call, body: _Body, request: Request) -> Response:
    asked = await call.served.call(lambda: call.decode(body)) if body.is_packed else call.decode(body)
    wait = max(0.0, min(asked.wait, wire.LONGEST_WAIT))
    claiming = asyncio.ensure_future(call.served.dispatcher.claim(asked.worker_id, asked.offer, wait))
    leaving = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait([claiming, leaving], return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        if not claiming.done():
            claiming.cancel()
    try:
        claims = await claiming
    except asyncio.CancelledError:
        if not leaving.done():
            raise
        claims = []  # nobody hears it
    request.app.state.metrics.claims.inc(len(claims))
    if not claims:
        return call.answer(claims)
    if len(claims) <= _FEW and call.journal.has_secret:
        return call.signed(claims)
    return await call.served.call(lambda: call.signed(claims))


async def _gone(request: Request) -> None:
    """Return when whoever asked has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _await_runs(call: _Call, body: _Body, request: Request) -> Response:  # noqa: ARG001  # as the others
    asked = await call.served.call(lambda: call.decode(body))
    if len(asked.run_ids) > _MOST_AWAITED:
        raise UsageError(f"await_runs takes {_MOST_AWAITED} runs at most, got {len(asked.run_ids):,}.")
    served, until = call.served, time.monotonic() + max(0.0, min(asked.wait, wire.LONGEST_WAIT))
    pause = 0.001
    while True:
        # begin to listen before looking, or an end in between is not heard
        heard = asyncio.ensure_future(served.ended.wait(max(0.001, min(until - time.monotonic(), _LOOK_AGAIN))))
        try:
            await asyncio.sleep(0)
            found: list[RunBrief] = await served.call(lambda: served.store.await_runs(asked.run_ids))
            if found or time.monotonic() >= until or served.closing:
                return call.answer(found)
            await heard
            await asyncio.sleep(pause)  # many may wait, and hundreds of other runs end each second
            pause = min(2 * pause, _LONGEST_PAUSE)
        finally:
            heard.cancel()


_LONGEST_PAUSE: Final = 0.1
_LOOK_AGAIN: Final = 2.0
"""Seconds after which one who waits for a run looks by itself: another server may have heard of its end."""


async def _await_slots(call: _Call, body: _Body, request: Request) -> Response:  # noqa: ARG001  # as the others
    asked = await call.served.call(lambda: call.decode(body))
    wait = max(0.0, min(asked.wait, wire.LONGEST_WAIT))
    return call.answer(await await_slots(call.served, asked.run_id, asked.epoch, asked.known, wait))


async def _await_events(call: _Call, body: _Body, request: Request) -> Response:  # noqa: ARG001  # as the others
    asked = await call.served.call(lambda: call.decode(body))
    if len(asked.sought) > _MOST_AWAITED:
        raise UsageError(f"await_events takes {_MOST_AWAITED} at most, got {len(asked.sought):,}.")
    wait = max(0.0, min(asked.wait, wire.LONGEST_WAIT))
    return call.answer(await await_events(call.served, asked.run_id, asked.sought, wait))


async def _load(call: _Call, body: _Body, request: Request) -> Response:  # noqa: ARG001  # as the others
    asked = await call.served.call(lambda: call.decode(body))
    rows = call.served.store.load(asked.run_id)

    def skip() -> bytes | None:
        for _ in zip(range(asked.skip), rows, strict=False):
            pass
        return next(pages, None)

    pages: Iterator[bytes] = wire.pages(rows)
    first = await call.served.call(skip)

    async def stream() -> AsyncIterator[bytes]:
        page = first
        while page is not None:
            yield page
            page = await call.served.call(lambda: next(pages, None))
        yield wire.END

    return StreamingResponse(stream(), media_type=_MEDIA)


_WAITING: Final[dict[str, Callable[[_Call, _Body, Request], Awaitable[Response]]]] = {
    "claim": _claim,
    "await_runs": _await_runs,
    "await_slots": _await_slots,
    "await_events": _await_events,
    "load": _load,
}


# --- what is asked


class _Body(msgspec.Struct, frozen=True):
    """What a request holds, as it came."""

    data: bytes
    is_packed: bool


async def _read(request: Request) -> _Body:
    said = request.headers.get("content-length", "")
    if said.isdigit() and int(said) > wire.MOST:
        raise _too_large()
    pieces, size = [], 0
    async for piece in request.stream():
        pieces.append(piece)
        size += len(piece)
        if size > wire.MOST:
            raise _too_large()
    encoding = request.headers.get("content-encoding", "")
    if encoding not in ("", "gzip", "identity"):
        raise UsageError(f"A body may come as it is or packed with gzip, not as {encoding[:20]!r}.")
    return _Body(b"".join(pieces), encoding == "gzip")


def _too_large() -> TooLargeError:
    return TooLargeError(wire.MOST)


def _decode(verb: Verb, body: _Body) -> Any:
    try:
        data = unpack(body.data, wire.MOST) if body.is_packed else body.data
        return wire.decoder_of(verb.name)(data)
    except OverflowError:
        raise MalformedError(
            f"The body of {verb.name} is packed, and unpacks to more than {wire.MOST:,} bytes."
        ) from None
    except (ValueError, msgspec.DecodeError) as error:
        fields = ", ".join(verb.takes) or "nothing"
        raise MalformedError(
            f"The body of {verb.name} is not the msgpack array of its arguments ({fields}): {error}."
        ) from None


def _arguments(verb: Verb, request: Any) -> dict[str, Any]:
    return {name: getattr(request, name) for name in verb.takes}


def _find_verb(name: str) -> Verb:
    verb = wire.VERBS.get(name)
    if verb is None:
        raise HTTPException(404, f"The store has no verb {name[:40]!r}.{nearest(name[:40], wire.VERBS)}")
    return verb


def _token_of(request: Request, who: Who) -> str:
    if who.run_id is None:
        return ""
    token: str = request.headers.get("authorization", "").partition(" ")[2]
    return token.strip()


def _now() -> int:
    return time.time_ns() // 1000


def _check_role(who: Who, verb: Verb) -> None:
    if who.role is Role.RUN or any(who.may(role) for role in verb.roles):
        return
    roles = " or ".join(sorted(verb.roles))
    raise AccessError(f"{verb.name} is for the role {roles}; {who.name} is {who.role}. Use another token.")


def _check_pools(who: Who, request: Any) -> None:
    """Keep a worker's token to the pools that it names."""
    asked = request.offer if hasattr(request, "offer") else getattr(request, "worker", None)
    wanted = asked.pools if asked is not None else [getattr(request, "pool", None) or who.pools[0]]
    if beyond := sorted(set(wanted) - set(who.pools)):
        raise AccessError(f"{who.name} may serve the pools {', '.join(who.pools)}, not {', '.join(beyond)}.")


def _audit(call: _Call, request: Any) -> None:
    what = next((str(value)[:200] for value in _named(call.verb, request) if isinstance(value, str)), "")
    run_id = getattr(request, "run_id", "")
    act = call.verb.audited
    if getattr(request, "paused", None) is False:
        act = act.replace("_paused", "_resumed")
    audit(call.served.store, call.who.name, act, what, run_id=run_id)


def _named(verb: Verb, request: Any) -> Iterator[Any]:
    """Yield what may name the thing that a verb changes: its id or name, or those of the record it takes."""
    for argument in _arguments(verb, request).values():
        yield getattr(argument, "id", None) or getattr(argument, "name", argument)
