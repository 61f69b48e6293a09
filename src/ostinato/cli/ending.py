"""How a run that was carried out here ended: what is shown of it, and the exit code."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from ostinato.cli.app import CANCELLED
from ostinato.cli.options import store
from ostinato.cli.screen import show_json
from ostinato.errors import OstinatoError, UpstreamError
from ostinato.outcomes import failure_of, parse_failure
from ostinato.runtime.display.tally import MARK
from ostinato.runtime.overview import summary
from ostinato.settings import load_settings
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ostinato.outcomes import Failure
    from ostinato.records import Run
    from ostinato.runtime.operations import Carried
    from ostinato.settings import Settings

_OK = (State.SUCCEEDED, State.SKIPPED)
_FRAMES = 6
_CAUSES = 3


def carry_out(work: Callable[[Settings], Carried], *, as_json: bool, quiet: bool) -> int:
    """Do what takes up a run here, show how it ended and return the exit code.

    Args:
        work: Does it, with these settings.
        as_json: Whether standard output holds one JSON object and nothing else.
        quiet: Whether nothing is shown while it runs.
    """
    settings = load_settings()
    if quiet:
        settings = msgspec.structs.replace(settings, display="none")
    if not as_json:
        carried = work(settings)
        return finish(carried)
    with clean_stdout():
        carried = work(settings)
        code = finish(carried)
    show_json(summary(carried.run))
    return code


def finish(carried: Carried) -> int:
    """Tell how a run ended, unless the display has; return the exit code."""
    run, error = carried.run, carried.error
    if error is None:
        return 0 if run.state in _OK else CANCELLED if run.state is State.CANCELLED else 1
    if run.state is State.CANCELLED or isinstance(error, KeyboardInterrupt):
        return CANCELLED
    if hasattr(error, MARK):
        return 1
    if run.state is not State.FAILED and isinstance(error, OstinatoError):
        raise error
    if isinstance(error, UpstreamError):
        _tell_causes(run)
    _say(short_traceback(failure_of(error)))
    _say(f"Run {run.id} of {run.flow} {run.state}. Try it again by `ostinato runs retry {run.id}`.")
    return 1


def _tell_causes(run: Run) -> None:
    """Show what failed first: the error of a call that could not run only says which call that was."""
    with store() as opened:
        failed = opened.list_task_runs(run.id, states=[State.FAILED], limit=_CAUSES)
    for row in failed:
        failure = parse_failure(row.error)
        if failure is not None:
            _say(f"{row.task} failed:\n{short_traceback(failure)}\n")


def short_traceback(failure: Failure) -> str:
    """Show a failure for whoever wrote the code: their own frames, then what was raised."""
    own = [place for place in failure.places if place.user] or failure.places
    lines = []
    for place in own[-_FRAMES:]:
        lines.append(f'  File "{_relative(place.file)}", line {place.line}, in {place.function}')
        if place.code:
            lines.append(f"    {place.code}")
    hidden = len(failure.places) - len(own)
    if hidden > 0:
        lines.append(f"  … {hidden} more in installed packages")
    name = failure.type if failure.module in {"builtins", "__main__"} else f"{failure.module}.{failure.type}"
    lines.append(f"{name}: {failure.message}" if failure.message else name)
    return "\n".join(lines)


def _relative(file: str) -> str:
    try:
        path = os.path.relpath(file)
    except ValueError:  # another drive
        return file
    return file if path.startswith("..") else path


def _say(text: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(text.rstrip(" ") + "\n")


@contextmanager
def clean_stdout() -> Iterator[None]:
    """Keep standard output clean: what is printed meanwhile, child processes included, goes to standard error."""
    sys.stdout.flush()
    try:
        out = os.dup(sys.stdout.fileno())
    except (OSError, ValueError):  # no real file, as in a test
        before: Any = sys.stdout
        sys.stdout = sys.stderr
        try:
            yield
        finally:
            sys.stdout = before
        return
    target = sys.stdout.fileno()
    os.dup2(sys.stderr.fileno(), target)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(out, target)
        os.close(out)
