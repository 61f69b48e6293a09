"""How the columns of all tables are made, in both dialects: see `schema`."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

metadata: Final = sa.MetaData()

ID: Final = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INSTANT: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
BYTES: Final = sa.LargeBinary


def column(name: str, kind: Any, *, null: bool = False, default: Any = None) -> sa.Column[Any]:
    """Make a column; one that came with a later revision has a default, for the rows that were there."""
    return sa.Column(name, kind, nullable=null, server_default=default)


def where(condition: str) -> dict[str, Any]:
    """Make an index partial in both dialects."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}
