"""A fixture for pytest: ``pytest_plugins = ["ostinato.testing.fixtures"]`` in ``conftest.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ostinato.testing.world import virtual_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ostinato.testing.world import World


@pytest.fixture
def world() -> Iterator[World]:
    """Give a world that begins on 2026-01-01, in UTC."""
    with virtual_time("2026-01-01") as opened:
        yield opened
