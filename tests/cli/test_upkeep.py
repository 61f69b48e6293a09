"""`ostinato check | db | config | doctor`, help, and what is typed wrongly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ostinato.cli.app import make_app
from ostinato.cli.docs import commands, options, render

WRONG = """
from ostinato import flow, task, unmapped

@task
def count() -> int:
    return 1

@task
def name(text: str) -> list[int]:
    return [1]

@task
def scale(x: float, by: float | None = None) -> float:
    return x

@flow
def wrong(given: str = ""):
    n = count()
    name(n)
    name.map(name("a"))
    scale(n, by=count.submit())
    scale.map(name("b"), by=unmapped(n))
    name(txt="x")
    n2 = count()
    n2 = "now a text"
    name(n2)
"""


def test_check_compares_what_tasks_give_with_what_others_take(cli):
    cli.write("wrong.py", WRONG)
    said = cli("check", "wrong.py", "--json")
    assert said.code == 1
    found = [(item["line"], item["message"]) for item in said.data[0]["findings"]]
    assert [line for line, _ in found] == [18, 19, 22]
    assert found[0][1] == "name takes text: str, but count gives int"
    assert "cannot be called like this" in found[2][1]


def test_check_refuses_schedules_that_could_start_nothing_with_file_and_line(cli):
    head = "from ostinato import flow\nfrom ostinato.schedules import Cron, Every\n\n"
    cli.write("lacking.py", head + "@flow(schedule=Every(hours=1))\ndef go(city: str): ...\n")
    cli.write("nonsense.py", head + "@flow(schedule=Cron('0 25 * * *'))\ndef go(): ...\n")
    said = cli("check", "lacking.py", "nonsense.py", "--json")
    assert said.code == 1
    lacking, nonsense = said.data
    (finding,) = lacking["findings"]
    assert finding["file"].endswith("lacking.py")
    assert (finding["line"], "gives no value for city" in finding["message"]) == (4, True)
    assert "the hour 25 is not in 0 to 23" in nonsense["error"]
    assert "nonsense.py" in nonsense["error"]
    assert "line 4" in nonsense["error"]


def test_check_lists_flows_and_tasks_and_leaves_other_files_alone(cli):
    cli.write("unrelated.py", "raise RuntimeError('not to be imported')\n")
    said = cli("check")
    assert said.code == 0
    assert "flow shop; tasks load, price, report, sign, total" in said.out
    assert "unrelated" not in said.out


def test_check_shows_why_a_module_cannot_be_imported(cli):
    cli.write("broken.py", "import ostinato\nimport nothing_there\n")
    said = cli("check")
    assert said.code == 1
    assert "broken.py" in said.out
    assert "No module named 'nothing_there'" in said.out


def test_check_keeps_files_of_the_same_name_apart(cli):
    for folder, flow in (("a", "one"), ("b", "two")):
        cli.write(f"{folder}/helper.py", f"NAME = '{flow}'\n")
        cli.write(f"{folder}/flows.py", f"import helper\nfrom ostinato import flow\nassert helper.NAME == '{flow}'\n"
                                        f"@flow\ndef {flow}(): ...\n")  # fmt: skip
    said = cli("check", "a", "b", "--json")
    assert [item["flows"] for item in said.data] == [["one"], ["two"]]


def test_check_of_a_path_that_is_not_there_is_an_error(cli):
    assert "There is no file or folder nowhere" in cli("check", "nowhere").err


def test_doctor_is_content_with_a_good_installation(cli):
    said = cli("doctor", "--json")
    assert said.code == 0
    answers = {answer["check"]: answer["status"] for answer in said.data}
    assert set(answers) >= {"python", "sqlite", "home", "disk", "results", "database", "durability", "clock", "workers"}
    assert "error" not in answers.values()


def test_doctor_says_what_is_wrong_and_exits_with_1(cli):
    blocked = cli.write("file", "not a folder")
    said = cli("doctor", OSTINATO_HOME=str(blocked / "home"))
    assert said.code == 1
    assert "Set OSTINATO_HOME to a folder that can be written." in said.out


def test_doctor_tells_of_dead_workers(cli):
    cli("run", "shop.py", DIE="1")
    workers = next(answer for answer in cli("doctor", "--json").data if answer["check"] == "workers")
    assert workers["status"] == "warning"
    assert "1 dead" in workers["found"]


def test_doctor_names_a_setting_that_does_not_fit(cli):
    said = cli("doctor", OSTINATO_LEASE="soon")
    assert said.code == 1
    assert "OSTINATO_LEASE" in said.out


def test_config_show_says_where_values_come_from_and_hides_passwords(cli):
    shown = cli("config", "show", "--json", OSTINATO_DATABASE="postgresql://me:secret@host/db").data
    assert shown["database"]["origin"] == "OSTINATO_DATABASE"
    assert "secret" not in shown["database"]["value"]
    assert shown["slots"] == {"value": 0, "origin": "default"}


def test_db_upgrade_makes_a_database_and_is_idempotent(cli):
    first, second = cli("db", "upgrade", "--json").data, cli("db", "upgrade", "--json").data
    assert first["before"] in {None, first["after"]}
    assert second["before"] == second["after"] == first["after"]


def test_db_info_counts_rows(cli):
    cli.run("shop.py")
    info = cli("db", "info", "--json").data
    assert info["dialect"] == "sqlite"
    assert (info["counts"]["run"], info["counts"]["task_run"]) == (1, 7)


def test_db_prune_forgets_old_runs_but_not_interrupted_ones(cli):
    cli.run("shop.py")
    cli("run", "shop.py", DIE="1")
    assert cli("db", "prune", "--json").data["runs"] == 0
    assert cli("db", "prune", "--older-than", "0s", "--json").data["runs"] == 1
    assert cli("db", "prune", "--older-than", "0s", "--interrupted", "--json").data["runs"] == 1
    assert "is no span of time" in cli("db", "prune", "--older-than", "soon").err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["rum"], 'Did you mean "run"?'),
        (["runs", "lst"], 'Did you mean "list"?'),
        (["run", "shop.py", "--quit"], "Did you mean '--quiet'?"),
        (["run"], "requires an argument"),
        (["runs", "list", "--limit", "many"], "unable to convert"),
        (["runs", "rerun", "latest"], "--from"),
    ],
)
def test_what_is_typed_wrongly_exits_with_2_and_suggests_the_nearest(cli, arguments, expected):
    said = cli(*arguments)
    assert said.code == 2
    assert said.err.startswith("error: ")
    assert expected in said.err
    assert "--help" in said.err


def test_a_damaged_database_is_an_error_that_says_what_to_do(cli):
    cli.write("home/ostinato.db", "this is no database, " * 100)
    said = cli("runs", "list")
    assert said.code == 1
    assert "is not a SQLite database" in said.err
    assert "Traceback" not in said.err


def test_version_and_help_answer(cli):
    assert cli("--version").out.startswith("ostinato ")
    assert "Run a flow here and now." in cli("--help").out
    assert "rerun" in cli("runs").out


def test_help_imports_neither_a_store_nor_pydantic():
    script = (
        "import sys; sys.argv = ['ostinato', '--help']; from ostinato.cli import main; main(); "
        "print([m for m in ('pydantic', 'sqlite3', 'sqlalchemy', 'ostinato.runtime') if m in sys.modules])"
    )
    environment = {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_command_and_option_has_help():
    for path, command in commands(make_app()):
        assert command.help, path
        assert command.default_command.__doc__, path
        for argument in options(command):
            assert argument.parameter.help, (path, argument.names)


def test_the_page_about_the_command_line_is_fresh():
    page = Path(__file__).parents[2] / "docs" / "cli.md"
    assert page.read_text() == render(), "run: python -m ostinato.cli.docs docs/cli.md"


def test_db_info_and_a_dry_run_tell_what_goes_next(cli):
    cli.run("shop.py")
    kept = {each["name"]: each for each in cli("db", "info", "--json").data["kept"]}
    assert (kept["runs"]["rows"], kept["runs"]["going"]) == (1, 0)
    assert "kept for" in cli("db", "info").out.lower()
    told = cli("db", "prune", "--older-than", "0s", "--dry-run", "--json").data
    assert {each["name"]: each["going"] for each in told}["runs"] == 1
    assert cli("runs", "list", "--json").data
    only = cli("db", "prune", "--older-than", "0s", "--class", "logs", "--class", "events", "--json").data
    assert (only["runs"], only["logs"] > 0, only["events"] > 0) == (0, True, True)
    assert "Did you mean 'logs'?" in cli("db", "prune", "--class", "lgs").err


def test_forgotten_runs_are_read_from_the_archive(cli):
    cli.run("shop.py")
    place = str(cli.write("archive/.keep", "").parent)
    settings = {"OSTINATO_RETENTION_ARCHIVE": place}
    assert cli("db", "prune", "--older-than", "0s", "--json", **settings).data["runs"] == 1
    (listed,) = cli("archive", "list", "--json", **settings).data
    assert listed["flow"] == "shop"
    assert "succeeded" in cli("archive", "list", "--archive", place).out
    shown = cli("archive", "show", listed["id"][-8:], **settings).out
    assert "price[2]" in shown
    assert "adding up" in shown
    exported = cli("archive", "export", "--flow", "shop", **settings).out.splitlines()
    assert len(exported) == 1
    assert len(json.loads(exported[0])["task_runs"]) == 7
    assert "No archive is set" in cli("archive", "list").err
    assert cli("archive", "export", "--since", "2099-01-01", **settings).out == ""
