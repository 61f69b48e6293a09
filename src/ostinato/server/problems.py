"""Every error in one shape: ``application/problem+json``, with a sentence that says what to do.

``{"type": "urn:ostinato:ParameterError", "title": …, "status": 422, "detail": …, "fields": {"cities": "is missing"}}``

`type` names the class of `ostinato.errors` where there is one, so that our own clients raise the same; it is
``about:blank`` for what only HTTP knows. What nobody foresaw is answered with a number that is in the log, and no more.
"""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ostinato import errors
from ostinato.errors import AccessError, OstinatoError, ParameterError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi import FastAPI
    from starlette.requests import Request

MEDIA_TYPE: Final = "application/problem+json"
_log = logging.getLogger("ostinato.server")


class UnauthenticatedError(AccessError):
    """There is no token, or one that does not hold: 401, where other `AccessError`s are 403."""


class TooLargeError(HTTPException):
    """The body of a request is larger than it may be."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"The body of this request may have {limit:,} bytes at most.")


_STATUS: Final[tuple[tuple[type[OstinatoError], int, str], ...]] = (
    (UnauthenticatedError, 401, "Not authenticated"),
    (AccessError, 403, "Not allowed"),
    (errors.UnknownRunError, 404, "No such run"),
    (errors.UnknownNameError, 404, "No such name"),
    (errors.RunStateError, 409, "The state does not allow it"),
    (ParameterError, 422, "Parameters refused"),
    (errors.UsageError, 400, "Cannot be done as asked"),
    (errors.StaleEpochError, 409, "No longer held"),
    (errors.ProtocolError, 426, "Another protocol version"),
    (errors.StoreUnavailableError, 503, "The database cannot be reached"),
    (errors.SchemaError, 503, "The database has another schema"),
    (errors.ResultError, 507, "The result store cannot do it"),
)
"""The first class that fits decides."""

_TITLES: Final = {
    400: "Malformed request",
    404: "Not found",
    405: "Method not allowed",
    413: "Too large",
    422: "Fields refused",
}


def problem(
    status: int,
    title: str,
    detail: str,
    *,
    kind: str = "about:blank",
    fields: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Make the answer that tells of an error."""
    body: dict[str, Any] = {"type": kind, "title": title, "status": status, "detail": detail}
    if fields:
        body["fields"] = fields
    return Response(msgspec.json.encode(body), status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def problem_of(error: OstinatoError) -> Response:
    """Tell of an error that was raised on purpose."""
    status, title = next(((status, title) for kind, status, title in _STATUS if isinstance(error, kind)), (500, ""))
    if not title:
        return unexpected(error)
    fields = error.fields if isinstance(error, ParameterError) else None
    headers = {"WWW-Authenticate": 'Bearer realm="ostinato"'} if status == 401 else {}  # noqa: PLR2004  # HTTP's own
    return problem(
        status, title, str(error), kind=f"urn:ostinato:{_public_name(error)}", fields=fields, headers=headers
    )


def _public_name(error: OstinatoError) -> str:
    """Name the nearest class that clients know."""
    names: list[str] = [kind.__name__ for kind in type(error).__mro__]
    return next(name for name in names if hasattr(errors, name))


def unexpected(error: BaseException) -> Response:
    """Log what nobody foresaw, and answer with where to find it in the log."""
    number = secrets.token_hex(4)
    _log.error("Unexpected error %s: %s", number, type(error).__name__, exc_info=error)
    detail = f"Something unexpected went wrong in the server. Its log has the details under {number}."
    return problem(500, "Unexpected error", detail)


def add_problems(app: FastAPI) -> None:
    """Let an app answer every error in this shape."""
    from fastapi.exceptions import RequestValidationError  # with what is heavy, and loaded by now

    async def raised(_request: Request, error: Exception) -> Response:
        assert isinstance(error, OstinatoError)
        return problem_of(error)

    async def refused(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return _of_fields(error.errors())

    async def by_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _of_http(request, error)

    app.add_exception_handler(OstinatoError, raised)
    app.add_exception_handler(RequestValidationError, refused)
    app.add_exception_handler(HTTPException, by_http)


def _of_fields(found: Sequence[Any]) -> Response:
    if any(error["type"] == "json_invalid" for error in found):
        return problem(400, _TITLES[400], f"The body is no JSON: {found[0]['ctx']['error']}.")
    fields = {".".join(map(str, error["loc"][1:])) or str(error["loc"][0]): error["msg"] for error in found}
    detail = "; ".join(f"{name}: {text}" for name, text in fields.items())
    return problem(422, _TITLES[422], detail, kind="urn:ostinato:ParameterError", fields=fields)


def _of_http(request: Request, error: HTTPException) -> Response:
    status, path, detail = error.status_code, request.url.path, error.detail
    headers = dict(error.headers or {})
    if status == 404 and detail == "Not Found":  # noqa: PLR2004  # HTTP's own
        detail = f"There is nothing at {path}. What there is is described at /api/openapi.json."
    elif status == 400:  # noqa: PLR2004  # HTTP's own
        detail = "The body cannot be read: it is to be JSON, in UTF-8, and not nested without end."
    elif status == 405:  # noqa: PLR2004  # HTTP's own
        detail = f"{path} does not know {request.method}; it knows {headers.get('Allow', headers.get('allow', ''))}."
    elif status == 413:  # noqa: PLR2004  # HTTP's own
        headers["Connection"] = "close"
    return problem(status, _TITLES.get(status, "Refused"), detail, headers=headers)
