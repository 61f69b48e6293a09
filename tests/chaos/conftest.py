"""A PostgreSQL server of its own for each chaos test: it is restarted and its backends are killed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from tests.postgres import MissingError, PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def own_postgres() -> Iterator[tuple[PostgresServer, str]]:
    """A server, and the address of a database in it with the schema."""
    from ostinato.store import migrate

    try:
        server = PostgresServer()
    except MissingError as error:
        if os.environ.get("CI"):
            pytest.fail(f"The tests need PostgreSQL under CI. {error}")
        pytest.skip(str(error))
    try:
        url = server.url(server.new_database())
        migrate.upgrade(url)
        yield server, url
    finally:
        server.stop()
