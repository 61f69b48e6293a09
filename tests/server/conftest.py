"""Servers for the tests of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.postgres import postgres_server, postgres_template, postgres_url  # noqa: F401
from tests.serving import Running, running

from ostinato.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=str(tmp_path / "home"), durability="crash-safe")


@pytest.fixture
def server(settings: Settings) -> Iterator[Running]:
    """A server on SQLite, open."""
    with running(settings) as found:
        yield found


@pytest.fixture(params=["sqlite", "postgres"])
def either(request: pytest.FixtureRequest, settings: Settings) -> Iterator[Running]:
    """A server on each database."""
    if request.param == "postgres":
        settings = msgspec.structs.replace(settings, database=str(request.getfixturevalue("postgres_url")))
    with running(settings) as found:
        yield found
