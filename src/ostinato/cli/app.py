"""The commands, by name; what each one does is imported only when it is given.

One door for all: `main` turns errors into a line that says what to do and an honest exit code.

====  ==============================================================
0     done
1     it failed, or cannot be done
2     it was typed wrongly
130   cancelled, or Ctrl-C
141   whoever read the output has gone away
====  ==============================================================
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from cyclopts import App, Parameter
from cyclopts.exceptions import CycloptsError, UnknownOptionError

from ostinato.errors import OstinatoError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

CANCELLED: Final = 130
_GONE: Final = 141
_USAGE: Final = 2
EXAMPLES: Final = {
    "run": """run weather.py:weather -p 'cities=["Oslo", "Lima"]'""",
    "debug": "debug latest fetch --pdb",
    "logs": "runs logs latest -f --level warning",
    "rerun": "runs rerun latest --from 'fetch[3]'",
    "fork": "runs fork latest --from report -p year=2014",
    "mark": """runs mark latest 'fetch[3]' succeeded --value '{"rows": 0}'""",
    "prune": "db prune --older-than 7d",
}

_ORDER: Final = (
    *("run", "runs", "list", "show", "logs", "watch", "resume", "retry", "rerun", "fork", "cancel", "mark"),
    *("debug", "check", "db", "upgrade", "info", "prune", "config", "doctor"),
)


def make_app() -> App:
    """Make the app; no command's module is imported."""
    app = App(
        name="ostinato",
        help="Run flows that survive anything, and look after their runs.",
        version=_version,
        help_flags=["--help", "-h"],
        help_formatter="default" if sys.stdout.isatty() else "plain",
        help_epilogue="Every listing takes --json. `ostinato COMMAND --help` says more.",
        help_format="plaintext",
        default_parameter=Parameter(show_default=False),
    )
    _add(app, "run", "run:run", "Run a flow here and now.")
    app.command(_runs(app))
    _add(app, "debug", "debug:debug", "Run a recorded task run again here, by itself.")
    _add(app, "check", "check:check", "Check flow files without running them.")
    app.command(_db(app))
    app.command(_config(app))
    _add(app, "doctor", "doctor:doctor", "Check that this installation can do its work.")
    for flag, text in (("--help", "Show this and exit."), ("--version", "Show the version and exit.")):
        app[flag].help = text
    return app


def _runs(parent: App) -> App:
    app = _group(parent, "runs", "List, follow, resume and change runs.")
    for name, place, text in (
        ("list", "listing:list_runs", "List runs, newest first."),
        ("show", "show:show", "Show a run and what became of each of its calls."),
        ("logs", "logs:logs", "Show what a run logged and printed."),
        ("watch", "watch:watch", "Watch a run until it ends."),
        ("resume", "acts:resume", "Go on with an interrupted run."),
        ("retry", "acts:retry", "Try a run that did not succeed again."),
        ("rerun", "acts:rerun", "Run chosen tasks of a run again, and what depends on them."),
        ("fork", "acts:fork", "Make a new run from a part of an old one."),
        ("cancel", "acts:cancel", "Stop a run."),
        ("mark", "acts:mark", "Say by hand how a task run ended."),
    ):
        _add(app, name, place, text)
    return app


def _db(parent: App) -> App:
    app = _group(parent, "db", "Look after the database.")
    _add(app, "upgrade", "database:upgrade", "Bring the database to this version's schema.")
    _add(app, "info", "database:info", "Show what the database is and how much is in it.")
    _add(app, "prune", "database:prune", "Forget runs that ended long ago.")
    return app


def _config(parent: App) -> App:
    app = _group(parent, "config", "Look at the settings.")
    _add(app, "show", "config:show", "Show every setting, and where its value comes from.")
    return app


def _group(parent: App, name: str, text: str) -> App:
    return App(
        name=name,
        help=text,
        help_format="plaintext",
        help_formatter=parent.help_formatter,
        help_epilogue="",
        version_flags=[],
        sort_key=_place(name),
    )


def _add(app: App, name: str, place: str, text: str) -> None:
    """Add a command that is imported when it is given."""
    example = EXAMPLES.get(name, "")
    app.command(
        f"ostinato.cli.{place}",
        name=name,
        help=text,
        help_epilogue=f"Example: ostinato {example}" if example else "",
        sort_key=_place(name),
    )


def _place(name: str) -> int:
    """Show commands in the order in which they are mostly met."""
    return _ORDER.index(name)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # only where it is asked for

    try:
        return f"ostinato {version('ostinato')}"
    except PackageNotFoundError:
        return "ostinato 0+source"


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says.

    Args:
        arguments: Instead of those of the process.

    Returns:
        The exit code.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _obey(make_app(), given)
        sys.stdout.flush()
    except BrokenPipeError:
        # what is still buffered must not be tried again when the interpreter ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _GONE
    except KeyboardInterrupt:
        return CANCELLED
    return code


def _obey(app: App, given: list[str]) -> int:
    try:
        result = app(
            given,
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except CycloptsError as error:
        _complain(f"{_told(app, given, error)}\nTry `{_command(app, given)} --help`.")
        return _USAGE
    except OstinatoError as error:
        _complain(str(error))
        return 1
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    return result if isinstance(result, int) else 0


def _complain(text: str) -> None:
    sys.stdout.flush()
    colour = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    head = "\033[1;31merror:\033[0m" if colour else "error:"
    sys.stderr.write(f"{head} {text}\n")


def _told(app: App, given: list[str], error: CycloptsError) -> str:
    """Say what is wrong, with the nearest option where one was misspelt."""
    text = " ".join(str(error).split())
    if not isinstance(error, UnknownOptionError):
        return text
    command = app.parse_commands(given)[1][-1]
    names = [name for argument in command.assemble_argument_collection() for name in argument.names]
    found = error.token.keyword or error.token.value
    return f"There is no option {found}.{nearest(found, names)}"


def _command(app: App, given: list[str]) -> str:
    try:
        return " ".join((app.name[0], *app.parse_commands(given)[0]))
    except CycloptsError:
        return app.name[0]
