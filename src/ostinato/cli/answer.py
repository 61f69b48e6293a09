"""What a check of ``ostinato doctor`` says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found in one respect."""

    check: str
    status: Status
    found: str
    advice: str = ""
