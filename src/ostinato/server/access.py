"""Who makes a request: read from the token that it shows.

```
no token ──► open server (on loopback, no users) ──► local, admin
         └─► else 401
ostr_… ────► the token of one run: its signature and its end are checked, nothing is looked up
ost_…  ────► `ostinato dev`'s own, or the SHA-256 is looked up in the store, at most every few seconds for each token
```

A token that is shown is checked on an open server too, so that a run's keeps its narrow scope. What was looked up
is believed for `FRESH` seconds: so long, at most, does a token that another server has revoked still hold here.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Final

from ostinato.access import INCLUDES, Role, Who
from ostinato.clock import SECOND
from ostinato.errors import AccessError
from ostinato.server.accounts import PREFIX, digest_of
from ostinato.server.problems import UnauthenticatedError
from ostinato.server.tokens import RUN_PREFIX, read_run

if TYPE_CHECKING:
    from starlette.datastructures import Headers

    from ostinato.server.served import Served

FRESH: Final = 5.0
_USERS_FRESH: Final = 1.5
"""How long an open server may not notice that a user was made by the command line."""
_MOST: Final = 10_000
_LOCAL: Final = Who(name="local", role=Role.ADMIN)
_OWN: Final = Who(name="worker:dev", role=Role.WORKER)
_ORDER: Final = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)


class Doorkeeper:
    """Knows who shows which token."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._known: dict[str, tuple[float, Who | None]] = {}
        self._secret: bytes | None = None
        self._looked_at = time.monotonic()

    async def authenticate(self, headers: Headers) -> Who:
        """Say who makes a request.

        Raises:
            AccessError: If nobody may who shows what is shown here.
        """
        scheme, _, token = headers.get("authorization", "").partition(" ")
        token = token.strip()
        if not scheme:
            return await self._without_token()
        if scheme.lower() != "bearer" or not token:
            raise UnauthenticatedError("Show a token as `Authorization: Bearer ost_…`.")
        if token.startswith(RUN_PREFIX):
            return await self._run(token)
        who = await self._stored(token) if token.startswith(PREFIX) else None
        if who is None:
            raise UnauthenticatedError(
                "This token does not hold: it is unknown, has expired or was revoked. An admin makes a new one by "
                "`ostinato tokens create`."
            )
        return who

    def forget(self) -> None:
        """Look everything up anew: users or tokens have changed."""
        self._known.clear()
        self._looked_at = 0.0

    async def _without_token(self) -> Who:
        served = self._served
        if served.is_open and time.monotonic() - self._looked_at > _USERS_FRESH:
            self._looked_at = time.monotonic()
            served.is_open = not await served.call(served.store.list_users)
        if served.is_open:
            return _LOCAL
        raise UnauthenticatedError(
            "This server asks for a token: `Authorization: Bearer ost_…`, or OSTINATO_TOKEN for our own programs. An "
            "admin makes one by `ostinato tokens create`."
        )

    async def _run(self, token: str) -> Who:
        served = self._served
        if self._secret is None:
            self._secret = await served.call(lambda: served.store.secret("run_tokens"))
        run_id = read_run(self._secret, token, round(time.time() * SECOND))
        return Who(name=f"run:{run_id}", role=Role.RUN, run_id=run_id)

    async def _stored(self, token: str) -> Who | None:
        own = self._served.own_token
        if own and secrets.compare_digest(token.encode(), own.encode()):
            return _OWN
        digest, now = digest_of(token), time.monotonic()
        found = self._known.get(digest)
        if found is None or now - found[0] > FRESH:
            if len(self._known) >= _MOST:
                self._known.clear()
            found = now, await self._served.call(lambda: self._look_up(digest))
            self._known[digest] = found
        return found[1]

    def _look_up(self, digest: str) -> Who | None:
        store = self._served.store
        token = store.find_token(digest)
        if token is None:
            return None
        if token.user is None:
            kind = "worker" if token.role is Role.WORKER else "token"
            return Who(name=f"{kind}:{token.name}", role=token.role, pools=token.pools)
        user = next((user for user in store.list_users() if user.name == token.user), None)
        if user is None:
            return None
        return Who(name=f"user:{user.name}", role=_lower(token.role, user.role), pools=token.pools)


def _lower(one: Role, other: Role) -> Role:
    """Return what both roles allow."""
    if one in INCLUDES[other]:
        return one
    return min(one, other, key=_ORDER.index) if one in _ORDER else other


def require(who: Who, role: Role) -> None:
    """Refuse whoever does not have a role.

    Raises:
        AccessError: Saying who asks, and who may.
    """
    if not who.may(role):
        raise AccessError(f"This is for the role {role}; {who.name} is {who.role}. Use another token.")
