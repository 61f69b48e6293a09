"""Users and tokens: made, changed and revoked. The API and the command line call these same functions.

A token is ``ost_`` and 32 random bytes in base64url. Only its SHA-256 is kept, so it is shown once: when it is made.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import TYPE_CHECKING, Final

import msgspec

from ostinato.access import INCLUDES, Role, Token, User
from ostinato.clock import SECOND
from ostinato.errors import UnknownNameError, UsageError, nearest
from ostinato.runtime.auditing import audit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ostinato.store.store import Store

PREFIX: Final = "ost_"
_SHOWN: Final = 12
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,62}")
PEOPLE: Final = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)
"""The roles that a user can have."""
PROGRAMS: Final = (*PEOPLE, Role.WORKER)
"""The roles that a token can have."""


class Made(msgspec.Struct, frozen=True):
    """A new token."""

    token: Token
    text: str
    """The token itself, which nobody can show again."""


def digest_of(text: str) -> str:
    """Return what is kept of a token."""
    return hashlib.sha256(text.encode()).hexdigest()


def create_user(store: Store, name: str, *, role: str = Role.VIEWER, actor: str | None = None) -> User:
    """Add a user.

    Raises:
        UsageError: If there is one of that name, or name or role are none that a user can have.
    """
    _check_name(name, "user")
    if any(user.name == name for user in store.list_users()):
        raise UsageError(f"There is a user {name!r} already. Make a token for them, or change their role.")
    user = User(name=name, role=_role(role, PEOPLE), created_at=store.now())
    store.put_user(user)
    audit(store, actor, "user_created", name, more={"role": user.role})
    return user


def change_user(
    store: Store, name: str, *, role: str | None = None, disabled: bool | None = None, actor: str | None = None
) -> User:
    """Give a user another role, or let their tokens hold no longer.

    Raises:
        UnknownNameError: If there is no such user.
        UsageError: If the role is none that a user can have, or no admin would be left.
    """
    users = store.list_users()
    user = find_user(users, name)
    changed = msgspec.structs.replace(
        user,
        role=user.role if role is None else _role(role, PEOPLE),
        disabled=user.disabled if disabled is None else disabled,
    )
    others = [other for other in users if other.name != name]
    if _is_admin(user) and not any(map(_is_admin, [*others, changed])):
        raise UsageError(f"{name} is the last admin: make somebody else one first.")
    store.put_user(changed)
    audit(store, actor, "user_changed", name, more={"role": changed.role, "disabled": changed.disabled})
    return changed


def create_token(
    store: Store,
    name: str,
    *,
    role: str | None = None,
    user: str | None = None,
    pools: Sequence[str] = (),
    lifetime: float | None = None,
    actor: str | None = None,
) -> Made:
    """Make a token.

    Args:
        store: Where it is kept.
        name: What it is for: ``laptop``, ``ci``.
        role: What it may do; by default what its user may.
        user: Whose it is; None for a program's own.
        pools: Of a worker's token: the pools it may serve; none named for all.
        lifetime: Seconds for which it holds; None for until it is revoked.
        actor: Who makes it.

    Raises:
        UnknownNameError: If there is no such user.
        UsageError: If name, role or lifetime do not fit.
    """
    _check_name(name, "token")
    owner = None if user is None else find_user(store.list_users(), user)
    wanted = _role(role or (owner.role if owner else Role.VIEWER), PROGRAMS)
    if owner is not None and wanted not in INCLUDES[owner.role]:
        raise UsageError(f"{owner.name} is {owner.role}: their token cannot be {wanted}.")
    if pools and wanted is not Role.WORKER:
        raise UsageError("Only the token of a worker is limited to pools.")
    if lifetime is not None and lifetime <= 0:
        raise UsageError(f"A token's lifetime is a number of seconds above 0, not {lifetime}.")
    now, text = store.now(), PREFIX + secrets.token_urlsafe(32)
    token = Token(
        id=text[:_SHOWN],
        hash=digest_of(text),
        name=name,
        role=wanted,
        user=user,
        pools=list(pools),
        created_at=now,
        expires_at=None if lifetime is None else now + round(lifetime * SECOND),
    )
    store.put_token(token)
    audit(store, actor, "token_created", token.id, more={"name": name, "role": wanted, "user": user})
    return Made(token, text)


def revoke_token(store: Store, token_id: str, *, actor: str | None = None) -> Token:
    """Let a token hold no longer; one that is revoked already stays as it is.

    Raises:
        UnknownNameError: If there is no such token.
    """
    tokens = store.list_tokens()
    found = next((token for token in tokens if token.id == token_id), None)
    if found is None:
        raise UnknownNameError(f"There is no token {token_id!r}.{nearest(token_id, [token.id for token in tokens])}")
    if found.revoked_at is not None:
        return found
    revoked = msgspec.structs.replace(found, revoked_at=store.now())
    store.put_token(revoked)
    audit(store, actor, "token_revoked", revoked.id, more={"name": revoked.name})
    return revoked


def has_way_in(store: Store) -> bool:
    """Tell whether anybody could use a server that asks for tokens: a user who is an admin, with a token that holds."""
    admins = {user.name for user in store.list_users() if _is_admin(user)}
    now = store.now()
    return any(
        token.user in admins
        and token.role is Role.ADMIN
        and token.revoked_at is None
        and (token.expires_at is None or token.expires_at > now)
        for token in store.list_tokens()
    )


def find_user(users: Sequence[User], name: str) -> User:
    """Return the user of a name.

    Raises:
        UnknownNameError: If there is none, with the nearest name.
    """
    found = next((user for user in users if user.name == name), None)
    if found is None:
        raise UnknownNameError(f"There is no user {name!r}.{nearest(name, [user.name for user in users])}")
    return found


def _is_admin(user: User) -> bool:
    return user.role is Role.ADMIN and not user.disabled


def _check_name(name: str, noun: str) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"The name of a {noun} begins with a letter or digit and has at most 63 of letters, digits and . _ @ + -, "
            f"not {name!r}."
        )


def _role(role: str, roles: Sequence[Role]) -> Role:
    if role not in roles:
        names = [str(one) for one in roles]
        raise UsageError(f"The role is {', '.join(names[:-1])} or {names[-1]}, not {role!r}.{nearest(role, names)}")
    return Role(role)
