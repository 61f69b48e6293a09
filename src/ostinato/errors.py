"""Every error that Ostinato raises on purpose.

```
OstinatoError
├── UsageError                 what was asked for cannot be done as asked
│   ├── DefinitionError        a task or flow is declared in a way that cannot work
│   ├── ParameterError         a flow's parameters are refused, field by field
│   ├── TargetError            a file, module or flow that cannot be found or loaded
│   ├── SettingError           a setting with a value that does not fit
│   ├── UnknownRunError        no run (or several) by that id
│   ├── UnknownNameError       no deployment, project, pool, user or token of that name
│   ├── AccessError            the server does not let you: no token, a wrong one, or one that may not do this
│   └── RunStateError          the run is in a state that does not allow it
├── TaskError
│   ├── TaskFailedError        a recorded failure whose own exception cannot be rebuilt
│   ├── TaskTimeoutError       (also a TimeoutError) the task ran longer than its timeout
│   ├── OutOfMemory            (also a MemoryError) it was ended because it took more memory than it may
│   ├── TypeMismatchError      (also a TypeError) a value does not fit its annotation
│   ├── UpstreamError          a task run did not run because of what it depends on
│   └── ResultError            a result that cannot be stored or read again
├── RunError
│   ├── RunFailedError         the run ended as failed without an exception of its own
│   ├── RunCancelledError      the run was cancelled
│   ├── WaitTimeout            (also a TimeoutError) what a run waited for did not come in time
│   ├── SensorError            a sensor gave what is no request, or left a cursor that cannot be kept
│   └── NonDeterminismError    a strict flow reached other calls than before
└── StoreError
    ├── StaleEpochError        this process no longer holds the run; nothing was written
    ├── StoreUnavailableError  the database cannot be reached or written
    ├── SchemaError            the database is older, newer or not ours
    └── ProtocolError          server and client speak different versions
```

A message says what was expected, what was found and what to do next.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class OstinatoError(Exception):
    """Anything that Ostinato raises on purpose."""


class UsageError(OstinatoError):
    """What was asked for cannot be done as asked."""


class DefinitionError(UsageError):
    """A task or a flow is declared in a way that cannot work."""


class ParameterError(UsageError):
    """A flow's parameters are refused; `fields` maps each field to its message."""

    def __init__(self, message: str, fields: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.fields = fields or {}


class TargetError(UsageError):
    """A file, a module or a flow that cannot be found or loaded."""


class SettingError(UsageError):
    """A setting whose value does not fit."""


class UnknownRunError(UsageError):
    """No run, or more than one, answers to that id."""


class UnknownNameError(UsageError):
    """No deployment, project, pool, user or token has that name."""


class AccessError(UsageError):
    """The server does not let you do that: there is no token, it is a wrong one, or it may not do this."""


class RunStateError(UsageError):
    """The run is in a state that does not allow what was asked."""


class TaskError(OstinatoError):
    """Something about one task run."""


class TaskFailedError(TaskError):
    """A recorded failure whose own exception cannot be rebuilt in this process."""


class TaskTimeoutError(TaskError, TimeoutError):
    """The task ran longer than its timeout."""


class OutOfMemory(TaskError, MemoryError):  # noqa: N818  # reads as in Retry(on=OutOfMemory)
    """A task or a run was ended because it took more memory than its `Resources` allow."""


class TypeMismatchError(TaskError, TypeError):
    """An argument or a result does not fit its annotation."""


class UpstreamError(TaskError):
    """The task run did not run because of what it depends on."""


class ResultError(TaskError):
    """A result that cannot be stored, or cannot be read again."""


class RunError(OstinatoError):
    """Something about a whole run."""


class RunFailedError(RunError):
    """The run ended as failed without an exception of its own."""


class RunCancelledError(RunError):
    """The run was cancelled."""


class SensorError(RunError):
    """A sensor gave something that is no request, or left a cursor that cannot be kept."""


class WaitTimeout(RunError, TimeoutError):  # noqa: N818  # reads as in `except WaitTimeout`
    """An event, or answers, that a run waited for did not come in time."""


class NonDeterminismError(RunError):
    """A strict flow, run again with unchanged code, reached other calls than before."""


class StoreError(OstinatoError):
    """Something about the database."""


class StaleEpochError(StoreError):
    """This process no longer holds the run: its lease ended or another took it. Nothing was written."""


class StoreUnavailableError(StoreError):
    """The database cannot be reached or cannot be written."""


class SchemaError(StoreError):
    """The database is older or newer than this version, or not Ostinato's."""


class ProtocolError(StoreError):
    """Server and client speak different versions of the protocol; the message says which is the older."""


def nearest(name: str, names: Iterable[str]) -> str:
    """Say `` Did you mean 'x'?`` when one of `names` is close to `name`, else nothing."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
