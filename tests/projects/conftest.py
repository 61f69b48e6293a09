"""Stores on SQLite and PostgreSQL, and a result store in a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.postgres import postgres_server, postgres_template, postgres_url  # noqa: F401

from ostinato.io.results import ResultStore
from ostinato.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ostinato.store.store import Store


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A fresh store."""
    if request.param == "postgres":
        url = str(request.getfixturevalue("postgres_url"))
    else:
        url = f"sqlite:///{tmp_path_factory.mktemp('home')}/ostinato.db"
    opened = open_store(url, durability="crash-safe")
    yield opened
    opened.close()


@pytest.fixture
def results(tmp_path_factory: pytest.TempPathFactory) -> ResultStore:
    """A fresh result store."""
    return ResultStore(str(tmp_path_factory.mktemp("results")))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of a project called weather."""
    folder = tmp_path / "weather"
    folder.mkdir()
    return folder
