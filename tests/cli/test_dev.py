"""`ostinato dev` in real processes: what it finds, runs, reloads, and what goes on when things are killed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import urllib.request
from pathlib import Path

import psutil
import pytest
from tests.process import until

FLOWS = """
import os, time
from pathlib import Path
from ostinato import flow, task

LEDGER, GO = Path(os.environ["LEDGER"]), Path(os.environ["LEDGER"]).with_name("go")

@task
def one() -> int:
    with LEDGER.open("a") as file:
        file.write("one\\n")
    return 1

@task
def two(n: int) -> int:
    with LEDGER.open("a") as file:
        file.write(f"two in {os.getpid()}\\n")
    while not GO.exists():
        time.sleep(0.01)
    return n + 1

@flow
def slow() -> int:
    return two(one())

@flow
def quick(n: int = 1) -> int:
    return n + 1
"""


class Dev:
    """`ostinato dev`, with what it has said so far."""

    def __init__(self, cli, *arguments: str) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            cli.command("dev", "project", "--port", "0", *arguments),
            cwd=cli.folder, env=cli.environment, text=True, errors="replace", start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def said(self) -> str:
        return "\n".join(self.lines)

    def says(self, text: str, seconds: float = 30) -> str:
        """Wait until it has said something; return the line."""

        def look() -> str | None:
            found = next((line for line in self.lines if text in line), None)
            assert found or self.process.poll() is None, f"it ended before it said {text!r}:\n{self.said}"
            return found

        return until(look, lambda: f"{text!r} in:\n{self.said}", seconds)

    @property
    def url(self) -> str:
        return re.search(r"http://\S+:\d+", self.says("Ostinato on"))[0]

    def family(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def end(self, number: int = signal.SIGINT) -> int:
        """End it by a signal and see that nothing of it is left."""
        family = self.family()
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(30)
        self._reader.join(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        until(
            lambda: not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE], "processes to end"
        )
        return code


@pytest.fixture
def dev(cli):
    cli.write("project/flows.py", FLOWS)
    started: list[Dev] = []

    def start(*arguments: str) -> Dev:
        started.append(Dev(cli, *arguments))
        started[-1].says("Start one")
        return started[-1]

    yield start
    for one in started:
        one.end(signal.SIGKILL)


def _ledger(cli) -> list[str]:
    return cli.ledger.read_text().splitlines() if cli.ledger.exists() else []


def _pid_of_the_run(cli, count: int) -> int:
    """Wait until the second task has begun for so many times; return the process in which it did."""
    found = until(lambda: [line for line in _ledger(cli) if line.startswith("two")][count - 1 :], f"{count} begins")
    return int(found[0].split()[-1])


def test_dev_tells_what_it_found_runs_it_and_ends_in_order(cli, dev):
    one = dev()
    assert one.says("Ostinato on http://127.0.0.1:")
    assert one.says("2 flows.")
    assert "flows.py:quick" in one.said
    said = cli("start", "quick", "-p", "n=4", "--watch", "--json")
    assert (said.code, said.data["state"], said.data["result"]) == (0, "succeeded", 5)
    assert one.end() == 0
    assert one.lines[-1] == "Ended in order."


def test_dev_tells_what_schedules_will_start_first_and_starts_it(cli, dev):
    flow = '@flow(schedule=[Every(seconds=1, name="often"), Cron("0 0 1 1 *", name="rarely")])'
    schedules = "from ostinato.schedules import Cron, Every\n"
    text = f"{schedules}from ostinato import flow\n\n{flow}\ndef ticking() -> int:\n    return 1\n"
    cli.write("project/ticking.py", text)
    one = dev()
    assert one.says("ticking:rarely (by its schedule)")
    assert one.said.index("ticking:often") < one.said.index("ticking:rarely")
    until(
        lambda: [tick["outcome"] for tick in cli("schedules", "ticks", "ticking:often", "--json").data][1:], "2 ticks"
    )
    assert one.end() == 0


def test_commands_work_through_the_server_too(cli, dev):
    url = dev().url
    run = cli("start", "quick", "--watch", "--json", OSTINATO_API=url).data
    assert run["state"] == "succeeded"
    for words in (["runs", "list"], ["runs", "show", "latest"], ["runs", "logs", "latest", "-f"], ["runs", "why", "latest"],
                  ["workers", "list"], ["pools", "list"], ["deployments", "list"], ["events", "tail"], ["doctor"]):  # fmt: skip
        said = cli(*words, OSTINATO_API=url)
        assert said.code == 0, (words, said)


def test_a_run_whose_process_is_killed_goes_on_by_itself(cli, dev):
    dev()
    run = cli("start", "slow", "--json").data["id"]
    os.kill(_pid_of_the_run(cli, 1), signal.SIGKILL)
    second = until(lambda: len([line for line in _ledger(cli) if line.startswith("two")]) == 2, "another process", 10)
    assert second
    assert "Its process was lost once" in cli("runs", "why", run).out
    (cli.folder / "go").touch()
    assert cli("runs", "watch", run).code == 0
    assert _ledger(cli).count("one") == 1


def test_runs_go_on_with_the_next_dev_when_it_is_killed(cli, dev):
    first = dev()
    run = cli("start", "slow", "--json").data["id"]
    _pid_of_the_run(cli, 1)
    first.end(signal.SIGKILL)
    dev()
    _pid_of_the_run(cli, 2)
    (cli.folder / "go").touch()
    assert cli("runs", "watch", run).code == 0
    assert _ledger(cli).count("one") == 1


def test_runs_under_way_at_ctrl_c_go_on_with_the_next_dev(cli, dev):
    first = dev()
    run = cli("start", "slow", "--json").data["id"]
    _pid_of_the_run(cli, 1)
    assert first.end() == 0
    assert cli("runs", "show", run, "--json").data["state"] == "queued"
    dev()
    _pid_of_the_run(cli, 2)
    (cli.folder / "go").touch()
    assert cli("runs", "watch", run).code == 0
    assert cli("runs", "show", run, "--json").data["recoveries"] == 0


def test_a_module_that_is_broken_is_told_keeps_its_flows_and_is_mended_on_save(cli, dev):
    one = dev()
    path = Path(
        cli.write(
            "project/other.py",
            "from ostinato import flow\n\n@flow\ndef extra():\n    return nothing_there\n\nnothing_here\n",
        )
    )
    one.says("other.py cannot be imported")
    one.says("NameError: name 'nothing_here' is not defined")
    assert cli("start", "quick", "--watch").code == 0
    path.write_text("from ostinato import flow\n\n@flow\ndef extra() -> int:\n    return 7\n")
    one.says("other.py can be imported again")
    one.says("new: extra")
    assert cli("start", "extra", "--watch", "--json").data["result"] == 7


def test_a_broken_module_is_told_once(cli, dev):
    cli.write("project/other.py", "from ostinato import flow\n\n@flow\ndef extra(): ...\n\nnothing_here\n")
    one = dev()
    cli.write("project/another.py", "from ostinato import flow\n\n@flow\ndef more(): ...\n\nnor_this\n")
    one.says("NameError: name 'nor_this' is not defined")
    assert cli("start", "quick", "--watch").code == 0  # its process has imported what it could
    assert one.end() == 0
    for name in ("nothing_here", "nor_this"):
        assert one.said.count(f"NameError: name '{name}' is not defined") == 1, one.said


def test_what_is_saved_is_what_runs_next(cli, dev):
    one = dev()
    assert cli("start", "quick", "--watch", "--json").data["result"] == 2
    cli.write("project/flows.py", FLOWS.removesuffix("return n + 1\n") + "return n + 100\n")
    one.says("flows.py saved")
    assert cli("start", "quick", "--watch", "--json").data["result"] == 101


def test_a_second_dev_on_the_same_port_says_who_has_it(cli, dev):
    one = dev()
    port = one.url.rpartition(":")[2]
    said = cli("dev", "project", "--port", port)
    assert said.code == 1
    assert f"Port {port} on 127.0.0.1 is taken" in said.err


def test_where_tokens_are_asked_for_dev_has_one_of_its_own_and_its_runs_theirs(cli, dev):
    token = cli("users", "create", "ada", "--role", "admin", "--json").data["token"]
    one = dev()
    refused = cli("runs", "list", OSTINATO_API=one.url)
    assert (refused.code, "asks for a token" in refused.err) == (1, True)
    said = cli("start", "quick", "--watch", "--json", OSTINATO_API=one.url, OSTINATO_TOKEN=token)
    assert (said.code, said.data["state"]) == (0, "succeeded")
    assert one.end() == 0
    assert [found["name"] for found in cli("tokens", "list", "--json").data] == ["ada"]


def test_dev_goes_on_when_the_first_user_is_made(cli, dev):
    one = dev()
    one.says("serves default")
    made = b'{"name": "ada", "role": "admin"}'
    request = urllib.request.Request(f"{one.url}/api/users", made, {"Content-Type": "application/json"})
    urllib.request.urlopen(request).close()
    assert "asks for a token" in cli("runs", "list", OSTINATO_API=one.url).err
    token = cli("tokens", "create", "laptop", "--user", "ada", "--json").data["token"]
    said = cli("start", "quick", "--watch", "--json", OSTINATO_API=one.url, OSTINATO_TOKEN=token)
    assert (said.code, said.data["state"]) == (0, "succeeded")
    assert one.end() == 0


def test_dev_serves_the_pools_that_tasks_name(cli, dev):
    cli.write(
        "project/pooled.py",
        "from ostinato import flow, task\n\n@task(pool='gpu')\ndef train(n: int) -> int:\n    return 2 * n\n\n"
        "@flow\ndef trainer() -> int:\n    return train(4)\n",
    )
    one = dev()
    assert one.says("serves default, gpu")
    assert cli("start", "trainer", "--watch", "--json").data["result"] == 8
