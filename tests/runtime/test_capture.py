"""The streams that stand in for stdout and stderr while a flow runs."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

from ostinato.runtime.capture import Bare, captured

if TYPE_CHECKING:
    import pytest


def test_a_stream_that_outlives_what_is_under_it_is_dropped_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.13 reports what a dropped stream raises when it closes itself."""
    under = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", under)
    with captured(display=Bare()):
        kept = sys.stdout
    under.close()
    kept.flush()
    kept.close()
    assert kept.closed
