"""Users and tokens."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response

from ostinato.access import Token, User
from ostinato.clock import to_rfc3339
from ostinato.server import shapes
from ostinato.server.accounts import change_user, create_token, create_user, revoke_token
from ostinato.server.asking import Admin, Here, refusals, reply

users = APIRouter(prefix="/api/users", tags=["users"], responses=refusals())
tokens = APIRouter(prefix="/api/tokens", tags=["tokens"], responses=refusals())
_DAY = 86_400.0


@users.get("", response_model=list[shapes.UserShape])
async def list_users(served: Here, _who: Admin) -> Response:
    """List users by name."""
    return reply([_user_of(user) for user in await served.call(served.store.list_users)])


@users.post("", response_model=shapes.UserShape, status_code=201)
async def add_user(request: Request, served: Here, who: Admin, new: shapes.NewUser) -> Response:
    """Add a user."""
    user = await served.call(lambda: create_user(served.store, new.name, role=new.role, actor=who.name))
    request.app.state.doorkeeper.forget()
    return reply(_user_of(user), 201)


@users.patch("/{name}", response_model=shapes.UserShape, responses=refusals(404))
async def update_user(
    request: Request,
    served: Here,
    who: Admin,
    name: Annotated[str, Path(max_length=200)],
    change: shapes.UserChange,
) -> Response:
    """Change a user."""

    def work() -> User:
        return change_user(served.store, name, role=change.role, disabled=change.disabled, actor=who.name)

    user = await served.call(work)
    request.app.state.doorkeeper.forget()
    return reply(_user_of(user))


@tokens.get("", response_model=list[shapes.TokenShape])
async def list_tokens(served: Here, _who: Admin) -> Response:
    """List tokens, newest first."""
    return reply([_token_of(token) for token in await served.call(served.store.list_tokens)])


@tokens.post("", response_model=shapes.MadeToken, status_code=201, responses=refusals(404))
async def add_token(served: Here, who: Admin, new: shapes.NewToken) -> Response:
    """Make a token."""
    lifetime = None if new.days is None else new.days * _DAY
    made = await served.call(
        lambda: create_token(
            served.store,
            new.name,
            role=new.role,
            user=new.user,
            pools=new.pools,
            lifetime=lifetime,
            actor=who.name,
        )
    )
    return reply({"token": made.text, "kept": _token_of(made.token)}, 201)


@tokens.delete("/{token_id}", response_model=shapes.TokenShape, responses=refusals(404))
async def delete_token(
    request: Request, served: Here, who: Admin, token_id: Annotated[str, Path(max_length=200)]
) -> Response:
    """Revoke a token."""
    token = await served.call(lambda: revoke_token(served.store, token_id, actor=who.name))
    request.app.state.doorkeeper.forget()
    return reply(_token_of(token))


def _user_of(user: User) -> dict[str, Any]:
    return {
        "name": user.name,
        "role": user.role,
        "created_at": to_rfc3339(user.created_at),
        "disabled": user.disabled,
    }


def _token_of(token: Token) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        "role": token.role,
        "user": token.user,
        "pools": token.pools,
        "created_at": to_rfc3339(token.created_at),
        "expires_at": to_rfc3339(token.expires_at),
        "revoked_at": to_rfc3339(token.revoked_at),
    }
