"""A home of its own for every test, in the environment too, and no thread of ours left behind."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from tests.inside import Home
from tests.postgres import postgres_server, postgres_template, postgres_url  # noqa: F401
from tests.runtime import fleet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("OSTINATO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OSTINATO_DISPLAY", "none")
    monkeypatch.setenv("OSTINATO_DURABILITY", "crash-safe")
    monkeypatch.chdir(tmp_path)
    return Home(tmp_path / "home")


@pytest.fixture(autouse=True)
def _leaves_no_threads() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    fleet.close_all()
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("ostinato") and not getattr(thread, "abandoned", False):
            thread.join(10)
            assert not thread.is_alive(), f"{thread.name} was left behind"


@pytest.fixture(params=["sqlite", "postgres"])
def waiting_home(home: Home, request: pytest.FixtureRequest) -> Home:
    """A home whose runs give up their process soon, on each of the databases."""
    more = {} if request.param == "sqlite" else {"database": str(request.getfixturevalue("postgres_url"))}
    return Home(home.path, suspend_after=0.05, **more)
