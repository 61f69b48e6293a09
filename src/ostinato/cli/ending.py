"""How a run that was carried out here ended: what is shown of it, and the exit code."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ostinato.cli.app import CANCELLED
from ostinato.cli.screen import show_json
from ostinato.errors import OstinatoError
from ostinato.outcomes import failure_of
from ostinato.runtime.overview import summary
from ostinato.settings import load_settings
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ostinato.outcomes import Failure
    from ostinato.runtime.operations import Carried
    from ostinato.settings import Settings

_OK = (State.SUCCEEDED, State.SKIPPED)
_FRAMES = 6


def carry_out(work: Callable[[Settings], Carried], *, as_json: bool, quiet: bool) -> int:
    """Do what takes up a run here, show how it ended and return the exit code.

    Args:
        work: Does it, with these settings.
        as_json: Whether standard output holds one JSON object and nothing else.
        quiet: Whether nothing is shown while it runs.
    """
    import msgspec

    settings = load_settings()
    if quiet:
        settings = msgspec.structs.replace(settings, display="none")
    if not as_json:
        carried = work(settings)
        return finish(carried, quiet=quiet)
    with clean_stdout():
        carried = work(settings)
        code = finish(carried, quiet=quiet)
    show_json(summary(carried.run))
    return code


def finish(carried: Carried, *, quiet: bool) -> int:
    """Tell how a run ended, where nothing has told it yet; return the exit code."""
    run, error = carried.run, carried.error
    if error is None:
        return 0 if run.state in _OK else CANCELLED if run.state is State.CANCELLED else 1
    if run.state is State.CANCELLED:
        _say(f"Run {run.id} of {run.flow} was cancelled. Go on with it by `ostinato runs retry {run.id}`.")
        return CANCELLED
    if isinstance(error, KeyboardInterrupt):
        return CANCELLED
    if run.state is State.FAILED:
        if not isinstance(error, OstinatoError) or error.__traceback__ is not None:
            _say(short_traceback(failure_of(error)))
        if not quiet:
            _say(f"Run {run.id} of {run.flow} failed. Look at it by `ostinato runs show {run.id}`, ")
            _say(f"try it again by `ostinato runs retry {run.id}`.")
        return 1
    if isinstance(error, OstinatoError):
        raise error
    _say(short_traceback(failure_of(error)))
    return 1


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
