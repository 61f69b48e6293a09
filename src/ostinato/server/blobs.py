"""The result store over HTTP: ``GET``, ``HEAD`` and ``PUT /api/blobs/<hash>``, for our own programs only.

A blob is named by the hash of its bytes, so a put can be repeated, its content is checked while it arrives, and who
knows a name has been given it. Large ones pass through a file, never whole through memory.
"""

from __future__ import annotations

import mmap
import re
import tempfile
from typing import TYPE_CHECKING, Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from ostinato.access import Role
from ostinato.errors import AccessError, OstinatoError, ResultError, UsageError
from ostinato.io.results import hasher
from ostinato.server.problems import TooLargeError, problem_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from starlette.requests import Request

    from ostinato.access import Who
    from ostinato.server.served import Served

MOST: Final = 4 << 30
"""Bytes of a blob at most."""
_IN_MEMORY: Final = 1 << 20
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_READERS: Final = (Role.VIEWER, Role.WORKER, Role.RUN)
_WRITERS: Final = (Role.OPERATOR, Role.WORKER, Role.RUN)


def routes() -> list[Route]:
    """Return the routes of the result store."""
    return [
        Route("/api/blobs/{digest}", _answer, methods=["GET", "HEAD", "PUT"], include_in_schema=False),
    ]


async def _answer(request: Request) -> Response:
    served: Served = request.app.state.served
    digest, who = request.path_params["digest"], request.state.who
    try:
        if not _HASH.fullmatch(digest):
            raise UsageError(f"A blob is named by 64 hexadecimal digits, not {digest[:80]!r}.")
        if request.method == "PUT":
            _check(who, _WRITERS)
            return await _put(served, digest, request)
        _check(who, _READERS)
        age = await served.call(lambda: served.results.find_age(digest))
        if age is None:
            raise HTTPException(404, f"There is no blob {digest}: it was never kept, or retention has removed it.")
        headers = {"Ostinato-Age": f"{age:.3f}"}
        if request.method == "HEAD":
            return Response(headers=headers)
        pieces = await served.call(lambda: served.results.pieces(digest))
        return StreamingResponse(_in_threads(served, pieces), headers=headers, media_type="application/octet-stream")
    except OstinatoError as error:
        return problem_of(error)
    except ClientDisconnect:
        return Response(status_code=400)  # nobody hears it


def _check(who: Who, roles: tuple[Role, ...]) -> None:
    if not any(who.may(role) for role in roles):
        raise AccessError(f"Blobs are for the roles {', '.join(roles)}; {who.name} is {who.role}. Use another token.")


async def _in_threads(served: Served, pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (piece := await served.call(lambda: next(pieces, None))) is not None:
        yield piece


async def _put(served: Served, digest: str, request: Request) -> Response:
    said = request.headers.get("content-length", "")
    if said.isdigit() and int(said) > MOST:
        raise TooLargeError(MOST)
    with tempfile.SpooledTemporaryFile(_IN_MEMORY, prefix="ostinato-blob-") as file:
        hashed, size = hasher(), 0
        async for piece in request.stream():
            size += len(piece)
            if size > MOST:
                raise TooLargeError(MOST)
            await served.call(lambda piece=piece: _take(file, hashed, piece))  # type: ignore[misc]
        if hashed.hexdigest() != digest:
            raise UsageError(f"The {size:,} bytes that came have the hash {hashed.hexdigest()}, not {digest}.")
        await served.call(lambda: _keep(served, file, size))
    return Response(status_code=204)


def _take(file: Any, hashed: Any, piece: bytes) -> None:
    try:
        file.write(piece)
    except OSError as error:
        place = tempfile.gettempdir()
        raise ResultError(f"The server cannot take it in: {error.strerror}. Make room in its {place}.") from error
    hashed.update(piece)


def _keep(served: Served, file: Any, size: int) -> None:
    file.seek(0)
    if size <= _IN_MEMORY:
        served.results.put(file.read())
        return
    file.flush()
    # not closed by hand: the traceback of what goes wrong holds pieces of it
    served.results.put(memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)))
