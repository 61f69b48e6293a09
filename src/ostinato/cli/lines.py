"""What servers and workers say while they run: plain lines on standard error."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ostinato.settings import Settings


def speak(settings: Settings) -> None:
    """Show what Ostinato's own parts log, a line each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    ours = logging.getLogger("ostinato")
    ours.addHandler(handler)
    ours.setLevel(settings.log_level.upper())
    ours.propagate = False
