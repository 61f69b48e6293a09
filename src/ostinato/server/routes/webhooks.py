"""Webhooks: events that come in from outside, each message signed. The signature is the login."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Request
from fastapi.responses import Response

from ostinato.clock import to_rfc3339
from ostinato.errors import UsageError
from ostinato.records import Event
from ostinato.server import shapes_happenings as shapes
from ostinato.server.asking import Here, Viewer, refusals, reply
from ostinato.server.problems import TooLargeError, problem
from ostinato.server.served import Served
from ostinato.server.signatures import check, event_key_of
from ostinato.timing import Webhook
from ostinato.waiting import check_key

router = APIRouter(prefix="/api/webhooks", tags=["webhooks"], responses=refusals())
HookName = Annotated[str, Path(min_length=1, max_length=200, description="The webhook's name.")]
_MOST = 1 << 20


@router.get("", response_model=list[shapes.Webhook])
async def list_webhooks(served: Here, _who: Viewer) -> Response:
    """List webhooks by name."""
    return reply([_shape(hook) for hook in await served.call(served.store.list_webhooks)])


@router.post("/{name}", status_code=202, response_model=shapes.Taken, responses=refusals(404, 409))
async def receive_webhook(request: Request, served: Here, name: HookName) -> Response:
    """Take a message: a JSON body, signed with the webhook's secret. It becomes an event, once.

    The same message again, its signature the same, is refused (409); one that its sender has signed anew because he
    missed the answer is not taken twice, and is told so (202).
    """
    body = await _read(request)
    headers = {key.lower(): value for key, value in request.headers.items()}
    return await served.call(lambda: _take(served, name, headers, body))


def _take(served: Served, name: str, headers: dict[str, str], body: bytes) -> Response:
    store = served.store
    hook, now = store.get_webhook(name), store.now()
    delivery = check(hook, headers, body, now)
    try:
        data = msgspec.json.decode(body)
    except msgspec.MsgspecError as error:
        raise UsageError(f"The body of a message is JSON: {error}.") from None
    key = event_key_of(hook, data)
    check_key(key)
    event = Event(at=now, kind=hook.kind, run_id="", data=msgspec.json.encode(data).decode(), key=key)
    taken = store.receive(delivery, event)
    if taken == "replayed":
        return problem(
            409,
            "Taken before",
            f"Webhook {name} has taken this very message already, and takes it no second time. To send the same again, "
            "sign it anew with a new id.",
        )
    served.changed()
    return reply({"taken": taken == "taken", "duplicate": taken == "duplicate"}, 202)


async def _read(request: Request) -> bytes:
    pieces, size = [], 0
    async for piece in request.stream():
        pieces.append(piece)
        size += len(piece)
        if size > _MOST:
            raise TooLargeError(_MOST)
    return b"".join(pieces)


def _shape(hook: Webhook) -> dict[str, Any]:
    return {
        "name": hook.name,
        "kind": hook.kind,
        "key_from": hook.key_from,
        "scheme": hook.scheme,
        "header": hook.header,
        "created_at": to_rfc3339(hook.created_at),
    }
