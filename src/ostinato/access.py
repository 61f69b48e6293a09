"""Who may do what: users, tokens, and the few roles there are.

```
viewer  ⊂  operator  ⊂  admin        people and their programs
worker                               registers, beats, claims and gives back
run                                  reads and writes one run and its child runs; nothing else
```

A token is shown once, when it is made; the store keeps its SHA-256 (it is random, 256 bits, so a slow hash would add
nothing). Tokens of runs are not stored: they are signed with the store's own secret. See `ostinato.server.tokens`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec


class Role(StrEnum):
    """What somebody may do."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
    WORKER = "worker"
    RUN = "run"


INCLUDES: Final[dict[Role, frozenset[Role]]] = {
    Role.VIEWER: frozenset({Role.VIEWER}),
    Role.OPERATOR: frozenset({Role.VIEWER, Role.OPERATOR}),
    Role.ADMIN: frozenset({Role.VIEWER, Role.OPERATOR, Role.ADMIN, Role.WORKER}),
    Role.WORKER: frozenset({Role.WORKER}),
    Role.RUN: frozenset({Role.RUN}),
}
"""The roles that each role has."""


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A person."""

    name: str
    role: Role
    created_at: int = 0
    disabled: bool = False


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token as it is kept: its hash, never itself."""

    id: str
    """Public: the first characters of the token, to tell it from others."""
    hash: str
    """SHA-256 of the whole token, hexadecimal."""
    name: str
    role: Role
    user: str | None = None
    """Whose it is; it may do what both its role and its user's allow. None for a program's own."""
    pools: list[str] = []
    """Of a worker's token: the pools it may serve; none named for all."""
    created_at: int = 0
    expires_at: int | None = None
    revoked_at: int | None = None


class Who(msgspec.Struct, frozen=True, kw_only=True):
    """Who makes a request."""

    name: str
    """As it stands in audit events: ``user:ada``, ``token:ci``, ``worker:…``, ``run:<id>``, ``local``."""
    role: Role
    run_id: str | None = None
    """For a run's token: that run."""
    pools: list[str] = []

    def may(self, role: Role) -> bool:
        """Tell whether it has that role."""
        return role in INCLUDES[self.role]
