"""What routes share: the server, who asks and whether they may, pages, and answers written without detours."""

import base64
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import Depends, Query, Request
from fastapi.responses import Response

from ostinato.access import Role, Who
from ostinato.errors import UsageError
from ostinato.runtime.auditing import audit
from ostinato.server.access import require
from ostinato.server.problems import MEDIA_TYPE
from ostinato.server.served import Served

T = TypeVar("T")
_LONGEST = 1000


async def served_of(request: Request) -> Served:  # async, or FastAPI has a thread do it, and each of them costs 60 µs
    """Return the server that a request has reached."""
    served: Served = request.app.state.served
    return served


def _having(role: Role) -> Callable[[Request], Awaitable[Who]]:
    async def check(request: Request) -> Who:
        who: Who = request.state.who
        require(who, role)
        return who

    return check


Here = Annotated[Served, Depends(served_of)]
Viewer = Annotated[Who, Depends(_having(Role.VIEWER))]
Operator = Annotated[Who, Depends(_having(Role.OPERATOR))]
Admin = Annotated[Who, Depends(_having(Role.ADMIN))]
Limit = Annotated[int, Query(ge=1, le=_LONGEST, description="How many items a page has at most.")]
Cursor = Annotated[str | None, Query(max_length=300, description="The `next` of the page before.")]

_WHAT = {
    400: "It cannot be done as asked; the detail says why.",
    401: "There is no token, or one that does not hold.",
    403: "The token's role does not allow it.",
    404: "There is nothing of that name or id.",
    409: "The state it is in does not allow it.",
    413: "The body is too large.",
    422: "Fields are refused, with a message for each.",
    426: "Client and server speak different protocol versions.",
    507: "The result store cannot do it.",
    503: "The database cannot be reached now; ask again.",
}
_PROBLEM = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the errors a route may answer with, besides those that every route may."""
    every = (400, 401, 403, 413, 422, 426, 503, 507)
    return {status: {"description": _WHAT[status], "content": _PROBLEM} for status in sorted({*every, *statuses})}


def reply(value: Any, status: int = 200) -> Response:
    """Answer with JSON."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def page(rows: Sequence[T], limit: int, shape: Callable[[T], Any], key: Callable[[T], str | int]) -> Response:
    """Answer with a page, given one row more than it shows if there is one."""
    shown = rows[:limit]
    more = len(rows) > limit
    return reply({"items": [shape(row) for row in shown], "next": to_cursor(key(shown[-1])) if more else None})


def to_cursor(place: str | int) -> str:
    """Write a place in a list so that nobody is tempted to make one up."""
    return base64.urlsafe_b64encode(str(place).encode()).decode().rstrip("=")


def from_cursor(cursor: str | None) -> str | None:
    """Read what `to_cursor` wrote.

    Raises:
        UsageError: If it is none of ours.
    """
    if cursor is None:
        return None
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except ValueError:
        raise UsageError(_NO_CURSOR) from None


def number_from(cursor: str | None, default: int) -> int:
    """Read a cursor that is a number."""
    place = from_cursor(cursor)
    return default if place is None else to_number(place)


def to_number(place: str) -> int:
    """Read a number that was a part of a cursor.

    Raises:
        UsageError: If it is none.
    """
    if not (place.removeprefix("-").isdecimal() and len(place) < 19):  # noqa: PLR2004  # 64 bits
        raise UsageError(_NO_CURSOR)
    return int(place)


_NO_CURSOR = "This cursor is none: give the `next` of the page before, as it is."


def note(
    served: Served, who: Who, act: str, what: str, *, run_id: str = "", more: dict[str, Any] | None = None
) -> None:
    """Record who changed what; for a thread that may block."""
    audit(served.store, who.name, act, what, run_id=run_id, more=more)
    served.changed()
