"""What Alembic runs: the migrations, over the connection that `ostinato.store.migrate` hands in."""

from __future__ import annotations

from alembic import context

from ostinato.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
