"""``docs/cli.md``, made from the app: ``python -m ostinato.cli.docs docs/cli.md`` writes it anew."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ostinato.cli.app import EXAMPLES, make_app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cyclopts import App, Argument

_HEAD = """# The command line

This page is made from the commands themselves by `python -m ostinato.cli.docs docs/cli.md`: do not edit it.

A RUN is a run's id, the unique beginning or end of one, or `latest`. A TASK is the name of a task, `NAME[INDEX]` for
one item of a map, the number that `runs show` gives it, or the beginning of its id.

Exit codes: 0 done · 1 it failed or cannot be done · 2 it was typed wrongly · 130 cancelled, or Ctrl-C.
"""


def render() -> str:
    """Write the page."""
    return "\n".join([_HEAD, *(_section(path, app) for path, app in commands(make_app()))])


def commands(app: App, path: tuple[str, ...] = ("ostinato",)) -> Iterator[tuple[tuple[str, ...], App]]:
    """Yield every command that does something, with the words that lead to it."""
    for name, command in app.resolved_commands().items():
        if name.startswith("-"):
            continue
        if command.default_command is not None:
            yield (*path, name), command
        yield from commands(command, (*path, name))


def options(command: App) -> list[Argument]:
    """List what a command takes, positions first."""
    return list(command.assemble_argument_collection())


def _section(path: tuple[str, ...], command: App) -> str:
    taken = options(command)
    usage = " ".join([*path, *(_usage(argument) for argument in taken)])
    lines = [f"## {' '.join(path[1:])}", "", f"```\n{usage}\n```", "", _help(command), ""]
    example = EXAMPLES.get(" ".join(path[1:]))
    if example:
        lines += [f"```\nostinato {example}\n```", ""]
    if taken:
        lines += ["| | |", "|---|---|", *(f"| {_names(argument)} | {_text(argument)} |" for argument in taken), ""]
    return "\n".join(lines)


def _help(command: App) -> str:
    return inspect.cleandoc(command.default_command.__doc__ or "") if command.default_command else ""


def _usage(argument: Argument) -> str:
    name = argument.names[0]
    if not name.startswith("-"):
        return name if argument.required else f"[{name}]"
    shown = name if argument.hint is bool else f"{name} {name.lstrip('-').upper().replace('-', '_')}"
    return shown if argument.required else f"[{shown}]"


def _names(argument: Argument) -> str:
    return ", ".join(f"`{name}`" for name in argument.names)


def _text(argument: Argument) -> str:
    return (argument.parameter.help or "").replace("|", "\\|")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(render(), encoding="utf-8")
