"""The first schema: runs, task runs, their attempts, logs, events, kept state, cache and blobs."""

from __future__ import annotations

from alembic import op

from ostinato.store.revisions import APPLICATION_ID
from ostinato.store.schema import metadata

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make all tables.

    While there is but this one revision it is the metadata itself; the second one must freeze it here.
    """
    connection = op.get_bind()
    metadata.create_all(connection, checkfirst=False)
    if connection.dialect.name == "sqlite":
        op.execute(f"PRAGMA application_id = {APPLICATION_ID}")
