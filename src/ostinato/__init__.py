"""Ostinato: durable, quick orchestration of data work in plain Python."""

from ostinato.authoring.deployment import Deployment
from ostinato.authoring.flow import Flow, flow
from ostinato.authoring.task import Task, task
from ostinato.automations.automation import Automation
from ostinato.caching import Cache, inputs, parameters, source
from ostinato.context import current
from ostinato.errors import OutOfMemory
from ostinato.future import Future, Results, unmapped
from ostinato.handle import RunHandle
from ostinato.hooks import Hooks
from ostinato.limits import Limit
from ostinato.outcomes import Cancel, Skip, Snooze
from ostinato.resources import Resources
from ostinato.retry import Retry
from ostinato.schedules import Cron, Every, On
from ostinato.sensors.sensor import sensor
from ostinato.values import now, random, uuid4
from ostinato.waiting import ask, emit, sleep, wait_for

__all__ = [
    "Automation",
    "Cache",
    "Cancel",
    "Cron",
    "Deployment",
    "Every",
    "Flow",
    "Future",
    "Hooks",
    "Limit",
    "On",
    "OutOfMemory",
    "Resources",
    "Results",
    "Retry",
    "RunHandle",
    "Skip",
    "Snooze",
    "Task",
    "ask",
    "current",
    "emit",
    "flow",
    "inputs",
    "now",
    "parameters",
    "random",
    "sensor",
    "sleep",
    "source",
    "task",
    "unmapped",
    "uuid4",
    "wait_for",
]
