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
    "runs logs": "runs logs latest -f --level warning",
    "runs rerun": "runs rerun latest --from 'fetch[3]'",
    "runs fork": "runs fork latest --from report -p year=2014",
    "runs mark": """runs mark latest 'fetch[3]' succeeded --value '{"rows": 0}'""",
    "db prune": "db prune --older-than 7d",
    "archive export": "archive export --flow weather --since 2026-01-01 > runs.jsonl",
    "dev": "dev flows/ --slots 4",
    "start": """start weather -p 'cities=["Oslo", "Lima"]' --watch""",
    "runs why": "runs why latest 'fetch[3]'",
    "worker": "worker --pool gpu --slots 2 --resource gpu=1 --resource memory=16GiB",
    "pools create": "pools create nightly slow --priority -10",
    "limits show": "limits show db",
    "limits set": "limits set db --slots 10",
    "schedules add": "schedules add weather --cron '0 6 * * 1-5' --timezone Europe/Oslo -p city=Oslo",
    "schedules preview": "schedules preview flows/weather.py:weather --from 2026-03-28",
    "schedules replay": "schedules replay weather --since 2026-01-31T06:00",
    "sensors test": "sensors test flows/orders.py:new_orders --cursor 1200",
    "automations test": """automations test alarm --event '{"kind": "orders.landed", "key": "4711"}'""",
    "automations silence": "automations silence alarm --for 2h",
    "simulate": "simulate --from 2026-01-01 --to 7d --workers 2 --slots 4 --chart load.svg",
    "events tail": "events tail -f --kind run.failed",
    "events emit": """events emit orders.landed --key 4711 --data '{"rows": 7}'""",
    "asks answer": "asks answer 0kf3… -p ok=true -p 'note=as agreed'",
    "webhooks add": "webhooks add orders --kind orders.landed --key-from data.id",
    "users create": "users create ada --role admin",
    "tokens create": "tokens create workers --role worker --pool gpu --expires 90d",
}

_GROUPS: Final = {
    "deployments": (
        "Look after what is deployed.",
        {
            "list": ("deployments:list_deployments", "List what can be started from outside."),
            "show": ("deployments:show", "Show a deployment, its parameters and what it needs."),
            "pause": ("deployments:pause", "Keep its runs in the queue."),
            "resume": ("deployments:resume", "Let its runs go."),
            "remove": ("deployments:remove", "Remove a project with all its deployments."),
        },
    ),
    "schedules": (
        "Look after schedules: what starts runs at certain times or upon certain events.",
        {
            "list": ("schedules:list_schedules", "List schedules, and when each starts something next."),
            "show": ("schedules:show", "Show a schedule, and why it starts nothing."),
            "preview": ("schedules:preview_schedule", "Show when it will start runs."),
            "ticks": ("schedules:list_ticks", "Show what it came to each time."),
            "pause": ("schedules:pause", "Have it start nothing."),
            "resume": ("schedules:resume", "Let it go on, from now."),
            "replay": ("schedules:replay", "Have it decide again from a time or an event on."),
            "add": ("schedules:add", "Add a schedule by hand."),
            "remove": ("schedules:remove", "Remove one that was added by hand."),
        },
    ),
    "sensors": (
        "Look after sensors: functions that look at something outside and request runs.",
        {
            "list": ("sensors:list_sensors", "List sensors, and how their last looks went."),
            "show": ("sensors:show", "Show a sensor, its cursor and its last looks."),
            "test": ("sensors:look_here", "Look here, once, and start nothing."),
            "ticks": ("sensors:list_ticks", "Show what its looks came to."),
            "pause": ("sensors:pause", "Have nobody look."),
            "resume": ("sensors:resume", "Let it be looked at again."),
            "reset": ("sensors:reset", "Set its cursor, or forget it, and look now."),
        },
    ),
    "automations": (
        "Look after automations: what is done when something happens, or does not.",
        {
            "list": ("automations:list_automations", "List automations, and what each waits for."),
            "show": ("automations:show", "Show an automation, and what it came to last."),
            "test": ("automations:play_through", "Play events through it: what would be done."),
            "firings": ("automations:list_firings", "List what automations came to."),
            "ack": ("automations:acknowledge", "Say that you look after a firing."),
            "pause": ("automations:pause", "Have it see nothing."),
            "resume": ("automations:resume", "Let it see what happens from now on."),
            "silence": ("automations:silence", "Have it do nothing for a while."),
            "add": ("automations:add", "Add an automation by hand."),
            "remove": ("automations:remove", "Remove one that was added by hand."),
        },
    ),
    "workers": (
        "Look after the workers.",
        {
            "list": ("workers:list_workers", "List the workers and how busy they are."),
            "drain": ("workers:drain", "Have a worker take no more runs and end."),
        },
    ),
    "limits": (
        "Look after limits: who holds them, who waits.",
        {
            "list": ("limits:list_limits", "List limits, and how full they are."),
            "show": ("limits:show_limit", "Show who holds a limit, and who waits for it."),
            "set": ("limits:set_limit", "Declare a limit by hand."),
            "remove": ("limits:remove_limit", "Forget what was declared by hand."),
        },
    ),
    "pools": (
        "Look after work pools and their queues.",
        {
            "list": ("pools:list_pools", "List work pools, their queues, and what waits."),
            "create": ("pools:create", "Declare a work pool or a queue, or change one."),
            "pause": ("pools:pause", "Keep the runs of a pool or a queue back."),
            "resume": ("pools:resume", "Let the runs of a pool or a queue go."),
            "remove": ("pools:remove", "Forget what was declared of a pool."),
        },
    ),
    "events": (
        "See what happens, and tell what has.",
        {
            "tail": ("events:tail", "Show the last events, and those to come."),
            "emit": ("events:emit", "Tell that something has happened."),
        },
    ),
    "asks": (
        "Look after the questions that runs wait for people to answer.",
        {
            "list": ("asks:list_asks", "List the questions that are open."),
            "show": ("asks:show", "Show a question and the form of its answer."),
            "answer": ("asks:answer", "Answer a question."),
        },
    ),
    "webhooks": (
        "Look after who may send events from outside.",
        {
            "list": ("webhooks:list_webhooks", "List webhooks by name."),
            "add": ("webhooks:add", "Let somebody send events, signed with a secret."),
            "remove": ("webhooks:remove", "Take no more messages of one."),
        },
    ),
    "users": (
        "Look after the users of a server.",
        {
            "create": ("users:create", "Add a user, with a token that is shown once."),
            "list": ("users:list_users", "List the users."),
            "disable": ("users:disable", "Let none of a user's tokens hold."),
            "enable": ("users:enable", "Let them hold again."),
        },
    ),
    "tokens": (
        "Look after the tokens of people, programs and workers.",
        {
            "create": ("tokens:create", "Make a token; it is shown once."),
            "list": ("tokens:list_tokens", "List the tokens."),
            "revoke": ("tokens:revoke", "Let a token hold no longer."),
        },
    ),
    "db": (
        "Look after the database.",
        {
            "upgrade": ("database:upgrade", "Bring the database to this version's schema."),
            "info": ("database:info", "Show what the database is and how much is in it."),
            "prune": ("database:prune", "Forget what is old."),
        },
    ),
    "archive": (
        "Look at runs that were forgotten, in the archive.",
        {
            "list": ("archive:list_runs", "List archived runs, those that ended last first."),
            "show": ("archive:show_run", "Show an archived run."),
            "export": ("archive:export", "Write archived runs as JSON lines."),
        },
    ),
    "config": (
        "Look at the settings.",
        {"show": ("config:show", "Show every setting, and where its value comes from.")},
    ),
}
"""Groups of commands: what each is about, and its verbs with where they are and what they do."""

_ORDER: Final = (
    *("run", "dev", "deploy", "start", "runs", "list", "show", "why", "logs", "watch", "create", "pause"),
    *("resume", "retry", "rerun", "fork", "cancel", "mark", "drain", "disable", "enable", "revoke", "remove"),
    *("test", "reset", "preview", "ticks", "replay", "add", "firings", "ack", "silence"),
    *("deployments", "schedules", "sensors", "automations", "server", "worker", "workers", "pools"),
    *("limits", "set"),
    *("events", "tail", "emit", "asks", "answer", "webhooks", "debug", "check", "simulate"),
    *("users", "tokens", "db", "upgrade", "info", "prune", "archive", "export", "config", "doctor"),
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
    _add(app, "dev", "dev:dev", "Server, worker and a project in one command, reloaded on save.")
    _add(app, "deploy", "deploy:deploy", "Store what a project's flows are, so that they can be started.")
    _add(app, "start", "start:start", "Ask for a run of a deployment.")
    app.command(_runs(app))
    _add(app, "server", "server:server", "Run a server.")
    _add(app, "worker", "worker:worker", "Run a worker: it carries out the runs of work pools.")
    for name, (text, commands) in _GROUPS.items():
        group = _group(app, name, text)
        for verb, (place, about) in commands.items():
            _add(group, verb, place, about, of=name)
        app.command(group)
    _add(app, "debug", "debug:debug", "Run a recorded task run again here, by itself.")
    _add(app, "check", "check:check", "Check flow files without running them.")
    _add(app, "simulate", "simulate:simulate", "Play schedules, limits and workers ahead.")
    _add(app, "doctor", "doctor:doctor", "Check that this installation can do its work.")
    for flag, text in (("--help", "Show this and exit."), ("--version", "Show the version and exit.")):
        app[flag].help = text
    return app


def _runs(parent: App) -> App:
    app = _group(parent, "runs", "List, follow, resume and change runs.")
    for name, place, text in (
        ("list", "listing:list_runs", "List runs, newest first."),
        ("show", "show:show", "Show a run and what became of each of its calls."),
        ("why", "why:why", "Say why a run is as it is, and what can be done."),
        ("logs", "logs:logs", "Show what a run logged and printed."),
        ("watch", "watch:watch", "Watch a run until it ends."),
        ("resume", "acts:resume", "Go on with an interrupted run."),
        ("retry", "acts:retry", "Try a run that did not succeed again."),
        ("rerun", "acts:rerun", "Run chosen tasks of a run again, and what depends on them."),
        ("fork", "acts:fork", "Make a new run from a part of an old one."),
        ("cancel", "acts:cancel", "Stop a run."),
        ("mark", "acts:mark", "Say by hand how a task run ended."),
    ):
        _add(app, name, place, text, of="runs")
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


def _add(app: App, name: str, place: str, text: str, *, of: str = "") -> None:
    """Add a command that is imported when it is given."""
    example = EXAMPLES.get(f"{of} {name}".strip(), "")
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
