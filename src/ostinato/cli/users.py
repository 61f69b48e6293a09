"""``ostinato users create | list | disable | enable``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter
from rich.text import Text

from ostinato.access import Role
from ostinato.cli.options import AsJson, store
from ostinato.cli.screen import show, show_json, table, when
from ostinato.clock import to_rfc3339
from ostinato.server.accounts import change_user, create_token, create_user

if TYPE_CHECKING:
    from ostinato.access import User

UserName = Annotated[str, Parameter(name="NAME", help="The user's name.")]
UserRole = Annotated[str, Parameter(name="--role", help="viewer (by default), operator or admin.")]
NoToken = Annotated[bool, Parameter(name="--no-token", negative=(), help="Make no token for them.")]


def create(name: UserName, /, *, role: UserRole = Role.VIEWER, no_token: NoToken = False, json: AsJson = False) -> None:
    """Add a user, and a token for them, which is shown this once."""
    with store() as opened:
        user = create_user(opened, name, role=role)
        made = None if no_token else create_token(opened, name, user=name)
    text = None if made is None else made.text
    if json:
        show_json({**_shape(user), "token": text})
        return
    print(f"User {name} is there, {user.role}.")
    if text is not None:
        print(f"Their token, which is not shown again:\n\n  {text}\n\nUse it: export OSTINATO_TOKEN={text}")


def list_users(*, json: AsJson = False) -> None:
    """List the users."""
    with store() as opened:
        users, now = opened.list_users(), opened.now()
    if json:
        show_json([_shape(user) for user in users])
        return
    if not users:
        print("There is no user: a server on loopback asks nobody who they are.")
        print("Make the first: ostinato users create NAME --role admin")
        return
    made = table("user", "role", "state", "created", whole=("user", "created"))
    for user in users:
        state = Text("disabled", "red") if user.disabled else ""
        made.add_row(user.name, str(user.role), state, when(user.created_at, now))
    show(made)


def disable(name: UserName, /, *, json: AsJson = False) -> None:
    """Let none of a user's tokens hold any longer."""
    _set(name, disabled=True, as_json=json)


def enable(name: UserName, /, *, json: AsJson = False) -> None:
    """Let the tokens of a disabled user hold again."""
    _set(name, disabled=False, as_json=json)


def _set(name: str, *, disabled: bool, as_json: bool) -> None:
    with store() as opened:
        user = change_user(opened, name, disabled=disabled)
    if as_json:
        show_json(_shape(user))
    else:
        print(f"User {name} is {'disabled: their tokens hold no longer' if disabled else 'enabled'}.")


def _shape(user: User) -> dict[str, Any]:
    shape: dict[str, Any] = msgspec.structs.asdict(user)
    return {**shape, "created_at": to_rfc3339(user.created_at)}
