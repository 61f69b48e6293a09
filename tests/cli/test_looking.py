"""`ostinato runs list | show | logs | watch`: what they say, on a terminal and in a pipe."""

from __future__ import annotations

import re
import signal

import pytest

SLOW = """
import time, os
from pathlib import Path
from ostinato import flow, task

@task
def wait() -> int:
    print("waiting", flush=True)
    gate = Path(os.environ["LEDGER"])
    while not gate.exists():
        time.sleep(0.01)
    print("over")
    return 1

@flow
def slow() -> int:
    return wait()
"""


def test_list_shows_whole_ids_and_no_lines_of_a_table_in_a_pipe(cli):
    run = cli.run("shop.py")
    out = cli("runs", "list").out
    assert run["id"] in out
    assert not re.search("[│┃━─╭]", out)
    assert not any(line.endswith(" ") for line in out.splitlines())


def test_list_filters_by_state_and_flow(cli):
    good, bad = cli.run("shop.py"), cli.run("shop.py", BAD="1")
    assert [run["id"] for run in cli("runs", "list", "--state", "failed", "--json").data] == [bad["id"]]
    assert [run["id"] for run in cli("runs", "list", "-n", "1", "--json").data] == [bad["id"]]
    assert {run["id"] for run in cli("runs", "list", "--flow", "shop", "--json").data} == {good["id"], bad["id"]}
    assert cli("runs", "list", "--flow", "other", "--json").data == []
    assert "Did you mean 'failed'?" in cli("runs", "list", "--state", "faild").err


def test_list_counts_task_runs_by_state(cli):
    cli.run("shop.py", BAD="1")
    counts = cli("runs", "list", "--json").data[0]["counts"]
    assert (counts["succeeded"], counts["failed"]) == (3, 1)


def test_list_without_any_run_says_how_to_start_one(cli):
    assert "ostinato run" in cli("runs", "list").out


def test_show_as_json_has_the_promised_shape(cli):
    run = cli.run("shop.py")
    shown = cli("runs", "show", run["id"], "--json").data
    assert {
        "id", "flow", "state", "reason", "epoch", "attempt", "parameters", "created_at", "started_at", "finished_at",
        "task_runs",
    } <= set(shown)  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", shown["started_at"])
    prices = [row for row in shown["task_runs"] if row["task"] == "shop.price"]
    assert sorted(row["map_index"] for row in prices) == [0, 1, 2]
    assert {
        "id", "task", "key", "map_index", "partition", "state", "reason", "attempts", "started_at", "finished_at",
        "upstream",
    } <= set(prices[0])  # fmt: skip
    total = next(row for row in shown["task_runs"] if row["task"] == "shop.total")
    assert sorted(total["upstream"]) == sorted(row["id"] for row in prices)


def test_show_as_json_keeps_the_attempts_before_the_latest(cli):
    cli.run("shop.py", BAD="1")
    assert cli("runs", "retry", "latest").code == 0
    prices = [row for row in cli("runs", "show", "latest", "--json").data["task_runs"] if row["task"] == "shop.price"]
    earlier = {row["map_index"]: row["earlier_attempts"] for row in prices}
    assert (earlier[0], earlier[2]) == ([], [])
    (first,) = earlier[1]
    assert (first["attempt"], first["state"], first["error"]["type"]) == (1, "failed", "ValueError")


def test_show_gives_a_map_one_line_and_each_failure_its_message(cli):
    cli.run("shop.py", BAD="1")
    out = cli("runs", "show", "latest").out
    assert re.search(r"price .3 +2 succeeded · 1 failed", out)
    assert re.search(r"✗ price\[1\]  ValueError: order 1 cannot be priced: no price list  shop.py:\d+", out)
    assert "ostinato runs retry" in out


def test_show_marks_what_the_last_pass_did_not_reach(cli):
    cli("run", "shop.py", DIE="1")
    script = cli.folder / "shop.py"
    script.write_text(script.read_text().replace("load(n)", "load(n + 1)"))
    assert cli("runs", "resume", "latest").code == 0
    assert "orphaned" in cli("runs", "show", "latest").out
    rows = cli("runs", "show", "latest", "--json").data["task_runs"]
    assert [row["task"] for row in rows if row["orphaned"]][:2] == ["shop.load", "shop.total"]


@pytest.mark.parametrize("cut", [slice(0, 14), slice(-5, None), slice(None)])
def test_a_run_is_found_by_the_beginning_or_end_of_its_id(cli, cut):
    run = cli.run("shop.py")
    assert cli("runs", "show", run["id"][cut], "--json").data["id"] == run["id"]


def test_an_unknown_or_ambiguous_run_names_candidates(cli):
    first, second = cli.run("shop.py")["id"], cli.run("shop.py")["id"]
    unknown = cli("runs", "show", first[:-2] + "!!")
    assert unknown.code == 1
    assert f"Did you mean '{first}'?" in unknown.err
    both = cli("runs", "show", first[:3])
    assert first in both.err
    assert second in both.err


def test_logs_name_the_task_and_filter_by_task_and_level(cli):
    cli.run("shop.py")
    out = cli("runs", "logs", "latest").out
    assert re.search(r"stdout +price\[1\] +pricing 1", out)
    assert re.search(r"warning +total +adding up", out)
    assert "pricing" not in cli("runs", "logs", "latest", "--level", "warning").out
    assert cli("runs", "logs", "latest", "--task", "price[2]").out.count("\n") == 1
    assert cli("runs", "logs", "latest", "--json", "--task", "total").out.count('"task":"shop.total"') == 1
    assert "Did you mean 'warning'?" in cli("runs", "logs", "latest", "--level", "warnin").err
    assert "Did you mean 'price'?" in cli("runs", "logs", "latest", "--task", "prise").err


def test_show_calls_a_killed_run_crashed_at_the_first_look(cli):
    cli("run", "shop.py", DIE="1")
    assert cli("runs", "show", "latest", "--json").data["state"] == "crashed"


def test_followed_logs_end_when_the_run_ends(cli):
    cli.write("slow.py", SLOW)
    running = cli.start("run", "slow.py", OSTINATO_DISPLAY="none")
    assert running.stdout.readline() == "waiting\n"
    logs = cli.start("runs", "logs", "latest", "-f")
    assert "waiting" in logs.stdout.readline()
    cli.ledger.touch()
    out, err = logs.communicate(timeout=20)
    running.communicate(timeout=20)
    assert "over" in out
    assert (logs.returncode, err) == (0, "")


def test_followed_logs_end_when_the_process_of_the_run_is_killed(cli):
    cli.write("slow.py", SLOW)
    running = cli.start("run", "slow.py", OSTINATO_DISPLAY="none")
    assert running.stdout.readline() == "waiting\n"
    logs = cli.start("runs", "logs", "latest", "-f")
    running.kill()
    running.communicate(timeout=20)
    logs.communicate(timeout=20)
    assert logs.returncode == 0


def test_watch_ends_with_the_run_and_says_how_it_ended(cli):
    cli.write("slow.py", SLOW)
    running = cli.start("run", "slow.py", OSTINATO_DISPLAY="none")
    assert running.stdout.readline() == "waiting\n"
    watch = cli.start("runs", "watch", "latest")
    assert "running" in watch.stdout.readline()
    cli.ledger.touch()
    out, _ = watch.communicate(timeout=20)
    running.communicate(timeout=20)
    assert "succeeded" in out
    assert watch.returncode == 0


def test_ctrl_c_in_watch_is_quiet(cli):
    cli.write("slow.py", SLOW)
    running = cli.start("run", "slow.py", OSTINATO_DISPLAY="none")
    assert running.stdout.readline() == "waiting\n"
    watch = cli.start("runs", "watch", "latest")
    watch.stdout.readline()
    watch.send_signal(signal.SIGINT)
    _, err = watch.communicate(timeout=20)
    cli.ledger.touch()
    running.communicate(timeout=20)
    assert (watch.returncode, err) == (130, "")


def test_a_reader_that_goes_away_is_no_error(cli):
    cli.run("shop.py")
    process = cli.start("runs", "show", "latest", "--json")
    process.stdout.close()
    process.wait(timeout=20)
    assert process.stderr.read() == ""
    process.stderr.close()
