"""``ostinato tokens create | list | revoke``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter
from rich.text import Text

from ostinato.cli.options import AsJson, store
from ostinato.cli.screen import show, show_json, table, when
from ostinato.cli.spans import seconds_of
from ostinato.clock import to_rfc3339
from ostinato.server.accounts import create_token, revoke_token

if TYPE_CHECKING:
    from ostinato.access import Token

TokenName = Annotated[str, Parameter(name="NAME", help="What it is for: laptop, ci, workers.")]
TokenId = Annotated[str, Parameter(name="TOKEN", help="A token's id, as `tokens list` shows it.")]
TokenRole = Annotated[
    str | None, Parameter(name="--role", help="viewer, operator, admin or worker; by default its user's, else viewer.")
]
OfUser = Annotated[str | None, Parameter(name="--user", help="Whose it is; without one it is a program's own.")]
ForPools = Annotated[
    list[str] | None, Parameter(name="--pool", negative=(), help="A pool that a worker's token may serve; repeatable.")
]
Lifetime = Annotated[
    str | None, Parameter(name="--expires", help="For how long it holds: 30d, 12h. By default for ever.")
]


def create(
    name: TokenName,
    /,
    *,
    role: TokenRole = None,
    user: OfUser = None,
    pool: ForPools = None,
    expires: Lifetime = None,
    json: AsJson = False,
) -> None:
    """Make a token; it is shown this once."""
    lifetime = None if expires is None else seconds_of(expires, "--expires")
    with store() as opened:
        made = create_token(opened, name, role=role, user=user, pools=pool or (), lifetime=lifetime)
    if json:
        show_json({**_shape(made.token), "token": made.text})
    else:
        print(f"Token {made.token.id} ({made.token.role}), which is not shown again:\n\n  {made.text}\n")
        print(f"Use it: export OSTINATO_TOKEN={made.text}")


def list_tokens(*, json: AsJson = False) -> None:
    """List the tokens, newest first; what they are is not known."""
    with store() as opened:
        tokens, now = opened.list_tokens(), opened.now()
    if json:
        show_json([_shape(token) for token in tokens])
        return
    if not tokens:
        print("There is no token. Make one: ostinato tokens create NAME --role worker")
        return
    made = table("token", "name", "role", "user", "pools", "state", "expires", "created", whole=("token", "created"))
    for token in tokens:
        pools = ", ".join(token.pools)
        times = (when(token.expires_at, now), when(token.created_at, now))
        made.add_row(token.id, token.name, str(token.role), token.user or "", pools, _state(token, now), *times)
    show(made)


def revoke(token: TokenId, /, *, json: AsJson = False) -> None:
    """Let a token hold no longer."""
    with store() as opened:
        revoked = revoke_token(opened, token)
    if json:
        show_json(_shape(revoked))
    else:
        print(f"Token {revoked.id} ({revoked.name}) holds no longer.")


def _state(token: Token, now: int) -> Text:
    if token.revoked_at is not None:
        return Text("revoked", "red")
    return (
        Text("expired", "yellow")
        if token.expires_at is not None and token.expires_at <= now
        else Text("holds", "green")
    )


def _shape(token: Token) -> dict[str, Any]:
    shape: dict[str, Any] = msgspec.structs.asdict(token)
    del shape["hash"]
    return {**shape, **{name: to_rfc3339(shape[name]) for name in ("created_at", "expires_at", "revoked_at")}}
