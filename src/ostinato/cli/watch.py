"""``ostinato runs watch``."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.live import Live
from rich.text import Text

from ostinato.cli.app import CANCELLED
from ostinato.cli.options import RunId, store
from ostinato.cli.screen import console, counts_text, show, state_text
from ostinato.cli.show import page
from ostinato.runtime.finding import find_run, rows_of
from ostinato.runtime.process import sweep
from ostinato.states import State

if TYPE_CHECKING:
    from ostinato.records import Run
    from ostinato.store.store import Store

_LOOK_AGAIN: Final = 0.5


def watch(run: RunId, /) -> int:
    """Watch a run until it ends; the exit code says how it ended."""
    with store() as opened:
        return follow(opened, find_run(opened, run))


def follow(opened: Store, run: Run, *, quiet: bool = False) -> int:
    """Show a run until it has ended, live on a terminal and in plain lines elsewhere; return its exit code."""
    ended = _live(opened, run) if sys.stdout.isatty() and not quiet else _plain(opened, run, quiet=quiet)
    if ended.state is State.CANCELLED:
        return CANCELLED
    if ended.state in {State.SUCCEEDED, State.SKIPPED}:
        return 0
    if not quiet:
        show(Text(f"Why: ostinato runs why {ended.id}", "dim"))
    return 1


def _live(opened: Store, run: Run) -> Run:
    with Live(console=console(), auto_refresh=False, vertical_overflow="ellipsis") as live:
        while True:
            sweep(opened)
            run = opened.get_run(run.id)
            live.update(Group(*page(run, rows_of(opened, run), opened.now(), opened.list_workers())), refresh=True)
            if run.state.is_terminal:
                return run
            time.sleep(_LOOK_AGAIN)


def _plain(opened: Store, run: Run, *, quiet: bool) -> Run:
    """Print a line whenever something has changed."""
    told = None
    while True:
        sweep(opened)
        run = opened.get_run(run.id)
        counts = opened.count_task_runs([run.id]).get(run.id, {})
        line = state_text(run.state, run.reason) + "  " + counts_text(counts)
        if line.plain != told and not quiet:
            told = line.plain
            show(line)
            sys.stdout.flush()
        if run.state.is_terminal:
            return run
        time.sleep(_LOOK_AGAIN)
