"""Exceptions on their way between processes: rebuilt where they can be, told about where they cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ostinato.context import Ended
from ostinato.errors import TaskFailedError, UsageError
from ostinato.executors.channel import dump_code, load
from ostinato.executors.thread_work import describe

if TYPE_CHECKING:
    from collections.abc import Callable

    from ostinato.executors.child import Failure


class RemoteTraceback(Exception):  # noqa: N818  # it is shown as a cause, not raised
    """Where an exception was raised in another process; it is the cause of that exception here."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        """Show the traceback."""
        return f'\n"""\n{self.text}"""'


def rebuild(failure: Failure) -> Ended:
    """Turn what a child told into how its work ended, with the exception or one that tells what it was."""
    error: object = None
    reason = "it cannot be pickled"
    if failure.error is not None:
        try:
            error = load(failure.error)
        except Exception as problem:
            reason = f"{type(problem).__name__}: {problem}"
    if not isinstance(error, BaseException):
        error = TaskFailedError(f"{failure.summary} (the exception itself could not be brought here: {reason})")
    return Ended(
        error=caused(error, failure.traceback),
        started_at=failure.started_at,
        finished_at=failure.finished_at,
        lost=failure.lost,
    )


def caused(error: BaseException, text: str) -> BaseException:
    """Give an exception the traceback it had in another process as its cause."""
    error.__cause__ = RemoteTraceback(text)
    return error


def refuse_to_send(work: Callable[[], Ended], error: Exception) -> UsageError:
    """Say which part of the work cannot be pickled, where that can be seen."""
    what = describe(work)
    parts = [(f"argument {number}", value) for number, value in enumerate(getattr(work, "args", ()), 1)]
    parts += [(f"argument {name!r}", value) for name, value in getattr(work, "keywords", {}).items()]
    for name, value in parts:
        try:
            dump_code(value)
        except Exception:
            what = f"{name} of {what}, a {type(value).__qualname__},"
            break
    message = (
        f"{what} cannot be pickled and so cannot go to another process: {error} "
        "Open connections, locks and clients inside the task, or run it with executor='threads'."
    )
    refusal = UsageError(message)
    refusal.__cause__ = error
    return refusal
