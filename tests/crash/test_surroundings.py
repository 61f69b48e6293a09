"""Many processes on one file; and a disk, a home or a server that fails under a run: told plainly, nothing lost."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.inside import Home
from tests.postgres import postgres_server, postgres_template, postgres_url  # noqa: F401
from tests.process import Ledger, Script, environment, run_script, until

from ostinato.records import RunFilter
from ostinato.states import State
from ostinato.store.open import open_store

if TYPE_CHECKING:
    from pathlib import Path

    from tests.postgres import PostgresServer

FLOW = """
import os, sys, time
from ostinato import flow, task
from tests.process import write_line

@task
def step(i: int) -> int:
    write_line(os.environ["LEDGER"], f"{sys.argv[1]} {i}")
    return i

@task
def hold(i: int) -> int:
    write_line(os.environ["LEDGER"], f"{sys.argv[1]} hold-{i}")
    while not os.path.exists(os.environ["GO"]):
        time.sleep(0.001)
    return i

@task
def big(i: int) -> bytes:
    write_line(os.environ["LEDGER"], f"{sys.argv[1]} big-{i}")
    return os.urandom(400_000)

@flow
def many(n: int) -> int:
    return sum(step(i) for i in range(n)) + sum(step.map(range(n, 2 * n)))

@flow
def held(n: int) -> int:
    return sum(step(i) for i in range(n)) + hold(0) + sum(step(i) for i in range(n, 2 * n))

@flow
def filling() -> int:
    return step(1) + sum(len(big(i)) for i in range(40))

if __name__ == "__main__":
    made = globals()[sys.argv[2]].with_options(resume=True)
    print("RESULT", made(*map(int, sys.argv[3:])))
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "flow.py"
    path.write_text(FLOW)
    return path


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


@pytest.mark.parametrize("count", [2, 8])
def test_processes_and_a_reader_at_once_on_one_file_lose_nothing(
    tmp_path: Path, home: Home, file: Path, ledger: Ledger, count: int
) -> None:
    env = environment(home.path, LEDGER=str(ledger.path), GO="")
    scripts = [Script(file, str(who), "many", "20", env=env) for who in range(count)]
    looks = 0
    while any(script.is_running for script in scripts):
        store = home.open()
        try:
            runs = store.list_runs(RunFilter())
            counts = store.count_task_runs([run.id for run in runs])
            assert all(sum(found.values()) <= 40 for found in counts.values())
            store.sweep()
            looks += 1
        finally:
            store.close()
    for script in scripts:
        assert script.wait() == 0, script.err
        assert f"RESULT {sum(range(40))}" in script.out
        assert "locked" not in script.err
    assert looks >= 2
    assert [run.state for run in home.runs()] == [State.SUCCEEDED] * count
    rows = home.all_task_runs()
    assert len(rows) == 40 * count
    assert all(row.state is State.SUCCEEDED for row in rows)
    assert len(ledger) == 40 * count


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_says_so_and_the_run_goes_on_when_there_is_room(tmp_path: Path, file: Path, ledger: Ledger) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(small)], check=False, capture_output=True
    ).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        env = environment(small / "home", LEDGER=str(ledger.path), GO="")
        first = run_script(file, "1", "filling", env=env)
        assert first.process.returncode not in (0, None)
        assert "RESULT" not in first.out
        assert "full" in first.err, first.err
        assert "Make room" in first.err or "make room" in first.err
        done = {row.id for row in Home(small / "home").all_task_runs() if row.state is State.SUCCEEDED}
        assert len(done) >= 3, "what was finished before is kept"
        effects = len(ledger)
        subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
        (run,) = Home(small / "home").runs()
        code = (
            f"import sys; sys.argv = [{str(file)!r}, '2', 'filling']\n"
            f"from ostinato.runtime.operations import resume, retry\n"
            f"print('RESULT', {'resume' if run.state is State.CRASHED else 'retry'}({run.id!r}).unwrap())"
        )
        (tmp_path / "go_on.py").write_text(code)
        second = run_script(tmp_path / "go_on.py", env=env)
        assert second.process.returncode == 0, second.err
        assert "RESULT 16000001" in second.out
        assert len(ledger) == effects + 41 - len(done), "only what was not finished"
    finally:
        subprocess.run(["umount", "-l", str(small)], check=False)


def test_a_home_that_cannot_be_written_says_so(tmp_path: Path, file: Path, ledger: Ledger) -> None:
    blocked = tmp_path / "no-folder"
    blocked.write_text("a file where the home should be")
    script = run_script(file, "1", "many", "1", env=environment(blocked / "home", LEDGER=str(ledger.path), GO=""))
    assert script.process.returncode not in (0, None)
    assert "OSTINATO_HOME" in script.err
    assert len(ledger) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a read-only home")
def test_a_read_only_home_says_so(tmp_path: Path, home: Home, file: Path, ledger: Ledger) -> None:
    env = environment(home.path, LEDGER=str(ledger.path), GO="")
    assert run_script(file, "1", "many", "1", env=env).process.returncode == 0
    if subprocess.run(["mount", "--bind", str(home.path), str(home.path)], check=False, capture_output=True).returncode:
        pytest.skip("no bind mount can be made here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(home.path)], check=True)
        script = run_script(file, "1", "many", "1", env=env)
        assert script.process.returncode not in (0, None)
        assert "OSTINATO_HOME" in script.err or "OSTINATO_DATABASE" in script.err, script.err
    finally:
        subprocess.run(["umount", "-l", str(home.path)], check=False)
    assert len(home.runs()) == 1
    assert len(ledger) == 2


def in_database(url: str) -> list[State]:
    store = open_store(url)
    try:
        store.sweep()
        return [run.state for run in store.list_runs(RunFilter())]
    finally:
        store.close()


def test_a_server_that_is_restarted_under_a_run_is_waited_for(
    tmp_path: Path,
    file: Path,
    ledger: Ledger,
    postgres_server: PostgresServer,
    postgres_url: str,
) -> None:
    env = environment(
        tmp_path / "home", LEDGER=str(ledger.path), GO=str(tmp_path / "go"), OSTINATO_DATABASE=postgres_url
    )
    script = Script(file, "1", "held", "20", env=env)
    until(lambda: "1 hold-0" in ledger.lines() or not script.is_running, "the flow to be half-way")
    postgres_server.halt()
    (tmp_path / "go").touch()
    postgres_server.start()
    assert script.wait(40) == 0, script.err
    assert f"RESULT {sum(range(40))}" in script.out
    assert len(ledger) == len(set(ledger.lines())) == 41, "once each"
    assert in_database(postgres_url) == [State.SUCCEEDED]


@pytest.mark.soak  # the store waits half a minute for its server, and as long again when it takes its leave
def test_a_server_that_stays_away_ends_the_run_and_the_run_goes_on_later(
    tmp_path: Path,
    file: Path,
    ledger: Ledger,
    postgres_server: PostgresServer,
    postgres_url: str,
) -> None:
    env = environment(tmp_path / "home", LEDGER=str(ledger.path), GO=str(tmp_path / "go"), OSTINATO_DATABASE=postgres_url,
                      OSTINATO_LEASE="1")  # fmt: skip
    script = Script(file, "1", "held", "20", env=env)
    until(lambda: "1 hold-0" in ledger.lines() or not script.is_running, "the flow to be half-way")
    postgres_server.halt()
    try:
        (tmp_path / "go").touch()
        assert script.wait(100) not in (0, None)
        assert "RESULT" not in script.out
        assert "cannot be reached" in script.err or "was lost" in script.err or "reach" in script.err, script.err
    finally:
        postgres_server.start()
    before = len(ledger)
    until(lambda: in_database(postgres_url) == [State.CRASHED], "the run to be seen as interrupted")
    second = run_script(file, "2", "held", "20", env=env)
    assert second.process.returncode == 0, second.err
    assert f"RESULT {sum(range(40))}" in second.out
    steps = [line.split()[1] for line in ledger.lines(before)]
    assert not set(steps) & {str(i) for i in range(20)}, "what had finished is not done again"
    assert in_database(postgres_url) == [State.SUCCEEDED]
