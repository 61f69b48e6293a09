"""The revisions of the schema, oldest first, and what a database's revision means.

Kept apart from the migrations so that opening a store need not import Alembic.
"""

from __future__ import annotations

from typing import Final

from ostinato.errors import SchemaError

REVISIONS: Final = ("0001",)
HEAD: Final = REVISIONS[-1]

APPLICATION_ID: Final = 0x4F737469
"""``Osti``, in the header of our SQLite files."""


def check(revision: str | None, location: str) -> None:
    """Refuse a database whose schema is not the one this version speaks.

    Args:
        revision: What `alembic_version` holds.
        location: Where the database is, for the message.

    Raises:
        SchemaError: If it is older or newer.
    """
    if revision == HEAD:
        return
    if revision is None or revision in REVISIONS:
        raise SchemaError(
            f"The database {location} has schema revision {revision or 'none'}, this version of Ostinato "
            f"needs {HEAD}. Run `ostinato db upgrade`."
        )
    raise SchemaError(
        f"The database {location} was written by a newer Ostinato (schema revision {revision}, this version "
        f"knows up to {HEAD}). Upgrade this installation."
    )
