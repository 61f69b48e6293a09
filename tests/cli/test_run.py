"""`ostinato run`: targets, parameters, what it prints, how it ends."""

from __future__ import annotations

import signal

import pytest

ECHO = """
from datetime import date
from ostinato import flow

@flow
def echo(text: str = "", number: int = 0, items: list[int] = [], day: date | None = None) -> list:
    print("to stdout")
    return [text, number, items, str(day)]
"""


def test_run_prints_one_json_object_and_nothing_else_on_stdout(cli):
    said = cli("run", "shop.py:shop", "-p", "n=2", "--json")
    assert said.code == 0
    assert said.data["state"] == "succeeded"
    assert said.data["result"] == "Sum: 3.0"
    assert said.data["parameters"] == {"n": 2, "title": "Sum"}


def test_run_finds_the_only_flow_of_a_file_and_a_flow_of_a_module(cli):
    assert cli.run("shop.py")["flow"] == "shop"
    assert cli.run("shop:shop")["flow"] == "shop"


def test_run_loads_a_file_of_a_package_with_its_relative_imports(cli):
    cli.write("pkg/__init__.py", "")
    cli.write("pkg/names.py", "NAME = 'there'\n")
    cli.write(
        "pkg/flows.py",
        "from ostinato import flow\nfrom .names import NAME\n@flow\ndef hello() -> str:\n    return NAME\n",
    )
    assert cli.run("pkg/flows.py:hello")["result"] == "there"


def test_a_parameter_is_json_where_the_annotation_takes_it_and_text_otherwise(cli):
    cli.write("echo.py", ECHO)
    given = ["-p", "text=12", "-p", "number=7", "-p", "items=[1, 2]", "-p", "day=2013-07-04"]
    assert cli.run("echo.py", *given)["result"] == ["12", 7, [1, 2], "2013-07-04"]


def test_parameters_of_a_file_give_way_to_those_that_are_typed(cli):
    cli.write("echo.py", ECHO)
    cli.write("given.json", '{"text": "file", "number": 1}')
    assert cli.run("echo.py", "--param-file", "given.json", "-p", "number=2")["result"][:2] == ["file", 2]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-p", "numbr=1"], "numbr: is no parameter; echo takes text, number, items, day. Did you mean 'number'?"),
        (["-p", "number=x"], "number: Input should be a valid integer"),
        (["-p", "number"], "'number' is not key=value"),
        (["--param-file", "none.json"], "none.json cannot be read as JSON"),
    ],
)
def test_wrong_parameters_are_refused_before_a_run_exists(cli, arguments, expected):
    cli.write("echo.py", ECHO)
    said = cli("run", "echo.py", *arguments)
    assert said.code == 1
    assert said.err.startswith("error: ")
    assert expected in said.err
    assert "Traceback" not in said.err
    assert cli("runs", "list", "--json").data == []


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("shp.py", "Did you mean 'shop.py'?"),
        ("shop.py:shopp", "Did you mean 'shop'?"),
        ("shop.py:load", "'load' in shop.py is a task, not a flow"),
        ("shop.py:LEDGER", "not a flow"),
        ("two.py", "two.py holds 2 flows; say which one: two.py:one, two.py:other"),
        ("none.py", "There is no flow in none.py"),
        ("broken.py", "error of syntax in line 2"),
        ("raises.py", "raise RuntimeError('at import')"),
        ("missing.py", "No module named 'nothing_there'"),
        ("leaves.py", "ends the process when it is imported"),
        ("nomodule:flow", "There is no module 'nomodule'"),
        ("json.py:x", "Rename the file"),
        (":x", "no file that there is and no name of a module"),
    ],
)
def test_a_target_that_cannot_be_loaded_says_what_was_expected_and_found(cli, target, expected):
    cli.write("two.py", "from ostinato import flow\n@flow\ndef one(): ...\n@flow\ndef other(): ...\n")
    cli.write("none.py", "x = 1\n")
    cli.write("broken.py", "x = 1\ndef f(:\n")
    cli.write("raises.py", "def f():\n    raise RuntimeError('at import')\nf()\n")
    cli.write("missing.py", "import nothing_there\n")
    cli.write("leaves.py", "raise SystemExit(3)\n")
    said = cli("run", target) if target != "json.py:x" else _with_json(cli, target)
    assert said.code == 1
    assert expected in said.err
    assert "ostinato/authoring" not in said.err
    assert cli("runs", "list", "--json").data == []


def _with_json(cli, target):
    cli.write("sub/json.py", "x = 1\n")
    return cli("run", f"sub/{target}")


def test_a_flow_that_fails_shows_the_users_own_frames_and_exits_with_1(cli):
    said = cli("run", "shop.py", "--quiet", BAD="1")
    assert said.code == 1
    assert 'File "shop.py", line ' in said.err
    assert "ValueError: order 1 cannot be priced: no price list" in said.err
    assert "Traceback" not in said.err
    assert "ostinato/runtime" not in said.err


def test_a_failure_that_the_display_has_shown_is_not_shown_twice(cli):
    cli.write("boom.py", "from ostinato import flow\n@flow\ndef boom():\n    raise KeyError('gone')\n")
    said = cli("run", "boom.py")
    assert said.code == 1
    assert said.err.count("raise KeyError('gone')") == 1


def test_run_with_resume_goes_on_with_an_interrupted_run_of_the_same_parameters(cli):
    assert cli("run", "shop.py", DIE="1").code == -signal.SIGKILL
    first = cli("runs", "list", "--json").data[0]["id"]
    cli.done()
    assert cli.run("shop.py", "--resume")["id"] == first
    assert cli.done() == ["report", "sign"]


def test_a_run_with_a_key_runs_once(cli):
    first = cli.run("shop.py", "--key", "today")
    cli.done()
    assert cli.run("shop.py", "--key", "today")["id"] == first["id"]
    assert cli.done() == []


def test_tags_are_added_to_those_of_the_flow(cli):
    assert cli.run("shop.py", "--tag", "night")["tags"] == ["shop", "night"]
    assert len(cli("runs", "list", "--tag", "night", "--json").data) == 1
    assert cli("runs", "list", "--tag", "day", "--json").data == []


def test_an_async_flow_runs_too(cli):
    cli.write(
        "later.py",
        "from ostinato import flow, task\n@task\nasync def one() -> int:\n    return 1\n"
        "@flow\nasync def later() -> int:\n    return await one() + 1\n",
    )
    assert cli.run("later.py")["result"] == 2


def test_ctrl_c_cancels_the_run_and_exits_with_130(cli):
    cli.write(
        "slow.py",
        "import time\nfrom ostinato import flow, task\n@task\ndef wait():\n    print('waiting', flush=True)\n"
        "    time.sleep(30)\n@flow\ndef slow():\n    wait()\n",
    )
    process = cli.start("run", "slow.py", OSTINATO_DISPLAY="none")
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert cli("runs", "list", "--json").data[0]["state"] == "cancelled"
