"""Automations: when this happens, or does not, do that. What is written in a project is imported from here."""

from __future__ import annotations

from ostinato.automations.actions import Action, CancelRun, Emit, Escalate, Notify, Pause, Resume, Start, Webhook
from ostinato.automations.automation import Automation
from ostinato.automations.silences import During, Silence, Weekly
from ostinato.automations.triggers import (
    Absent,
    AllOf,
    AnyOf,
    Count,
    Happened,
    InOrder,
    Late,
    Longer,
    Rate,
    RunFailed,
    RunIs,
    RunSucceeded,
    TaskFailed,
    Trigger,
)

__all__ = [
    "Absent",
    "Action",
    "AllOf",
    "AnyOf",
    "Automation",
    "CancelRun",
    "Count",
    "During",
    "Emit",
    "Escalate",
    "Happened",
    "InOrder",
    "Late",
    "Longer",
    "Notify",
    "Pause",
    "Rate",
    "Resume",
    "RunFailed",
    "RunIs",
    "RunSucceeded",
    "Silence",
    "Start",
    "TaskFailed",
    "Trigger",
    "Webhook",
    "Weekly",
]
