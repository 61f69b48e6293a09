"""What a person sees: in a real pseudo-terminal, read by a terminal emulator, and through pipes."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pyte
import pytest

import ostinato
from ostinato import flow, task, telemetry
from ostinato.runtime.display.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator

DEADLINE = 30.0
PRELUDE = """
import asyncio, logging, os, sys
from ostinato import Retry, current, flow, task

def gate(name):
    with open(os.path.join(os.environ["GATES"], name)) as f:
        return f.read()
"""


class Place:
    """A folder with scripts, a home, and gates: FIFOs at which a script waits until the test opens them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def script(self, text: str) -> Path:
        path = self.folder / "work.py"
        path.write_text(PRELUDE + textwrap.dedent(text))
        return path

    def gate(self, name: str) -> str:
        os.mkfifo(self.folder / name)
        return name

    def let_pass(self, name: str) -> None:
        (self.folder / name).write_text("go")

    def environment(self, **more: str) -> dict[str, str]:
        kept = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith("OSTINATO_") and k not in {"NO_COLOR", "PYTHONUNBUFFERED"}
        }
        return {
            **kept,
            "PYTHONPATH": str(Path(ostinato.__file__).parent.parent),
            "OSTINATO_HOME": str(self.folder / "home"),
            "GATES": str(self.folder),
            "TERM": "xterm-256color",
            "PYTHONIOENCODING": "utf-8",
            **more,
        }

    def run(self, text: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a script with its output in pipes."""
        command = [sys.executable, str(self.script(text))]
        return subprocess.run(
            command, env=self.environment(**more), cwd=self.folder, capture_output=True, text=True,
            timeout=DEADLINE, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip


class Terminal:
    """A terminal with a script running in it, and what is to be seen."""

    def __init__(self, place: Place, text: str, *, columns: int = 80, lines: int = 24, **more: str) -> None:
        self.master, slave = pty.openpty()
        self.screen = pyte.HistoryScreen(columns, lines, history=1000, ratio=1)
        self.stream = pyte.ByteStream(self.screen)
        self.written = b""
        self.resize(columns, lines)
        self.process = subprocess.Popen(
            [sys.executable, str(place.script(text))], env=place.environment(**more), cwd=place.folder,
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        )  # fmt: skip
        os.close(slave)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.screen.resize(lines, columns)

    def rows(self) -> list[str]:
        """Return all that was and is on the screen, top to bottom, without the empty rows."""
        gone = ["".join(line[x].data for x in range(self.screen.columns)) for line in self.screen.history.top]
        return [row.rstrip() for row in (*gone, *self.screen.display) if row.strip()]

    def until(self, *wanted: str | tuple[str, ...]) -> list[str]:
        """Read until for each of the wanted a row holds it, or all its parts, and return the rows."""
        deadline = time.monotonic() + DEADLINE
        parts = [(one,) if isinstance(one, str) else one for one in wanted]
        while not all(holding(self.rows(), *one) for one in parts):
            assert time.monotonic() < deadline, f"never saw {wanted!r}: {self.rows()}"
            assert self._read(), f"it ended without {wanted!r}: {self.rows()}"
        return self.rows()

    def end(self) -> list[str]:
        """Read until the script has ended, and return the rows."""
        while self._read():
            pass
        self.process.wait(DEADLINE)
        return self.rows()

    def _read(self) -> bool:
        if not select.select([self.master], [], [], DEADLINE)[0]:
            self.process.kill()
            raise AssertionError(f"nothing came any more: {self.rows()}")
        try:
            data = os.read(self.master, 65_536)
        except OSError:  # what Linux says when the other side is closed
            return False
        self.written += data
        self.stream.feed(data)
        return bool(data)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def terminal(place: Place) -> Iterator[object]:
    opened: list[Terminal] = []

    def open_terminal(text: str, **more: object) -> Terminal:
        opened.append(Terminal(place, text, **more))
        return opened[-1]

    yield open_terminal
    for one in opened:
        one.close()


def holding(rows: list[str], *parts: str) -> bool:
    """Tell whether one row holds all the parts."""
    return any(all(part in row for part in parts) for row in rows)


WAITS_IN_A_MAP = """
@task
def load(n: int) -> int:
    if n == 2:
        gate("open")
    return n

@flow
def main() -> None:
    print("hello")
    load.map([0, 1, 2, 3]).wait()

main()
"""


# --- on a terminal


def test_a_run_that_ends_at_once_shows_one_line_and_never_loads_rich(terminal):
    rows = terminal("""
    @task
    def add(n: int) -> int:
        return n
    @flow
    def main() -> int:
        return add(1)
    main()
    print("rich" in sys.modules)
    """).end()
    assert len(rows) == 2
    assert rows[0].startswith("✓ main succeeded in ")
    assert "1 succeeded" in rows[0]
    assert rows[1] == "False"


def test_a_map_is_a_bar_with_its_total_while_it_goes_on_and_gone_at_the_end(place, terminal):
    place.gate("open")
    term = terminal(WAITS_IN_A_MAP, OSTINATO_SLOTS="2")
    term.until(("load", "━", "3/4"), ("main", "3 succeeded", "run "))
    place.let_pass("open")
    rows = term.end()
    assert [row for row in rows if "━" in row] == []
    assert rows[0] == "hello"
    assert rows[1].startswith("✓ main succeeded in ")
    assert "4 succeeded" in rows[1]
    assert len(rows) == 2


def test_the_total_of_a_map_over_another_map_is_known_before_its_items_are(place, terminal):
    place.gate("open")
    term = terminal(
        """
        @task
        def load(n: int) -> int:
            if n == 1:
                gate("open")
            return n
        @task
        def join(n: int) -> int:
            return n
        @flow
        def main() -> None:
            join.map(load.map([0, 1, 2])).wait()
        main()
        """,
        OSTINATO_SLOTS="1",
    )
    term.until(("load", "1/3"), ("join", "/3"))
    place.let_pass("open")
    term.end()


def test_a_failure_is_shown_at_once_with_the_users_frames_and_only_once(place, terminal):
    place.gate("open")
    term = terminal("""
    @task
    def bad(n: int) -> int:
        return int("three")
    @task
    def slow() -> None:
        gate("open")
    @flow
    def main() -> None:
        slow.submit()
        bad.submit(1).result()
    main()
    """)
    term.until("✗ bad failed", ("work.py:", " in bad"), 'return int("three")')
    assert term.process.poll() is None
    place.let_pass("open")
    rows = term.end()
    assert term.process.returncode == 1
    assert sum("ValueError" in row for row in rows) == 1
    assert holding(rows, "✗ main failed in ", "1 succeeded · 1 failed")
    assert re.search(r"Go on with what is not finished: ostinato runs retry \w{16}$", rows[-1])
    assert not any("Traceback" in row for row in rows)


def test_the_traceback_of_what_python_itself_would_show_is_kept_when_the_error_is_another(place):
    ended = place.run("""
    @task
    def bad() -> int:
        return int("three")
    @flow
    def main() -> None:
        bad()
    try:
        main()
    except ValueError:
        raise RuntimeError("of the script") from None
    """)
    assert "RuntimeError: of the script" in ended.stderr
    assert "Traceback" in ended.stderr


def test_a_retry_says_when_and_why(place, terminal):
    place.gate("open")
    term = terminal("""
    @task(retry=Retry(2, delay=3600))
    def shaky() -> None:
        raise ConnectionError("hung up")
    @flow
    def main() -> None:
        shaky.submit()
        gate("open")
    main()
    """)
    term.until(("↻ shaky", "1 retrying in 1 h 00 min", "ConnectionError: hung up"))


def test_what_the_body_prints_stays_in_order_above_the_frame(place, terminal):
    for name in ("one", "two"):
        place.gate(name)
    term = terminal("""
    @task
    def say(n: int) -> None:
        print("task", n)
    @flow
    def main() -> None:
        print("first")
        gate("one")
        print("half", end="")
        sys.stdout.flush()
        say(1)
        gate("two")
        print(" and half")
    main()
    """)
    rows = term.until("main  ")
    assert rows[0] == "first"
    place.let_pass("one")
    rows = term.until("say │ task 1", "main  ")
    assert rows[1] == "half"
    place.let_pass("two")
    rows = term.end()
    assert rows[:3] == ["first", "half", "say │ task 1"]
    assert rows[3] == " and half"


def test_an_unfinished_line_of_the_body_is_gone_on_with_under_a_live_frame(place, terminal):
    place.gate("open")
    place.gate("end")
    term = terminal("""
    @flow
    def main() -> None:
        print("loading", end="", flush=True)
        gate("open")
        sys.stderr.write("\\rloaded")
        gate("end")
        print(" all")
    main()
    """)
    rows = term.until("main  ")
    assert rows[0] == "loading"
    place.let_pass("open")
    term.until("loaded")
    place.let_pass("end")
    assert term.end()[0] == "loaded all"


def test_a_question_of_the_body_is_not_drawn_over(place, terminal):
    place.gate("open")
    term = terminal("""
    @flow
    def main() -> None:
        gate("open")
        print("hello", input("name? "))
    main()
    """)
    term.until("main  ")
    place.let_pass("open")
    assert term.until("name?")[-1].startswith("name?")
    term.type("Bob\n")
    assert term.end()[:2] == ["name? Bob", "hello Bob"]


def test_ctrl_c_is_answered_above_the_frame_and_ends_without_a_traceback(place, terminal):
    place.gate("open")
    term = terminal("""
    @task
    def slow() -> None:
        import threading
        threading.Event().wait(60)
    @flow
    def main() -> None:
        slow.submit().result()
    main()
    """)
    term.until("slow")
    os.kill(term.process.pid, signal.SIGINT)
    rows = term.end()
    assert rows[0] == "Cancelling: tasks are being stopped. Press Ctrl-C again to stop at once."
    assert holding(rows, "✗ main cancelled in ")
    assert holding(rows, "ostinato runs retry ")
    assert not any("Traceback" in row or "━" in row for row in rows)


def test_no_row_is_wider_than_a_narrow_terminal_and_a_resized_one(place, terminal):
    for name in ("one", "two"):
        place.gate(name)
    term = terminal(
        """
        @task
        def look(n: int) -> None:
            current.logger.info("wide 日本語 " * 20)
            gate("one" if n == 0 else "two")
        @flow
        def main() -> None:
            look.map([0, 1]).wait()
        main()
        """,
        columns=30,
        OSTINATO_SLOTS="1",
    )
    term.until("0/2")
    rows = term.until("wide 日")
    assert sum("日" in row for row in rows) == 1
    term.resize(50, 24)
    place.let_pass("one")
    rows = term.until("1/2")
    assert sum("1/2" in row for row in rows) == 1
    place.let_pass("two")
    rows = term.end()
    assert rows[0].startswith("✓ main succeeded")


def test_no_colour_is_used_where_none_is_wanted(place, terminal):
    place.gate("open")
    term = terminal(WAITS_IN_A_MAP, NO_COLOR="1")
    term.until("3/4")
    place.let_pass("open")
    term.end()
    assert not re.search(rb"\x1b\[[0-9;]*m", term.written)


def test_a_terminal_that_is_not_utf_8_gets_plain_signs(place, terminal):
    place.gate("open")
    term = terminal(WAITS_IN_A_MAP, PYTHONIOENCODING="ascii:strict")
    term.until(("load", "##", "3/4"))
    place.let_pass("open")
    assert holding(term.end(), "+ main succeeded in ")


def test_a_dumb_terminal_gets_plain_lines(terminal):
    term = terminal(WAITS_IN_A_MAP.replace('gate("open")', "pass"), TERM="dumb")
    rows = term.end()
    assert re.match(r"\d\d:\d\d:\d\d main started · run \w{16}$", rows[0])
    assert b"\x1b" not in term.written


def test_what_would_move_the_cursor_is_taken_out_of_what_tasks_print(place, terminal):
    place.gate("open")
    term = terminal("""
    @task
    def wild() -> None:
        print("\\x1b[31mred\\x1b[0m \\x1b[2J\\x1b[Hcleared\\x1b]0;title\\x07 bell\\x07")
        print("10%\\r100%\\rdone")
        print("x" * 1_000_000)
        print("after")
    @flow
    def main() -> None:
        print("before")
        wild()
        gate("open")
    main()
    """)
    rows = term.until("main  ", "wild │ after")
    assert rows[0] == "before"
    assert "wild │ red cleared bell" in rows
    assert "wild │ done" in rows
    assert any("998,000 more characters" in row for row in rows)
    place.let_pass("open")
    term.end()


def test_a_flood_of_lines_is_cut_and_said_to_be(place, terminal):
    place.gate("open")
    term = terminal("""
    @task
    def talk() -> None:
        for n in range(5_000):
            print("line", n)
        gate("open")
    @flow
    def main() -> None:
        talk()
    main()
    """)
    term.until("talk │ line 0")
    place.let_pass("open")
    rows = term.end()
    assert any("lines are not shown here: ostinato runs logs " in row for row in rows)
    assert sum("talk │ line" in row for row in rows) < 2_000


def test_tasks_of_child_runs_stand_beneath_their_flow(place, terminal):
    place.gate("open")
    term = terminal("""
    @task
    def inner() -> None:
        gate("open")
    @flow
    def child() -> None:
        inner()
    @flow
    def main() -> None:
        child()
    main()
    """)
    rows = term.until("  ● child", "    ● inner")
    assert any(row.startswith("  ● child") for row in rows)
    place.let_pass("open")
    term.end()


# --- through pipes


def test_output_of_the_body_is_all_of_standard_output_and_tasks_are_heard_on_standard_error(place):
    ended = place.run("""
    @task
    def say(n: int) -> int:
        print("printed", n)
        logging.getLogger("lib").info("logged %s", n)
        return n
    @flow
    def main() -> None:
        print("one")
        say.map([7]).wait()
        print("two", end="")
    main()
    """)
    assert ended.stdout == "one\ntwo"
    lines = ended.stderr.splitlines()
    assert re.match(r"\d\d:\d\d:\d\d main started · run \w{16}$", lines[0])
    assert re.match(r"\d\d:\d\d:\d\d say\[0\] │ printed 7$", lines[1])
    assert re.match(r"\d\d:\d\d:\d\d say\[0\] │ logged 7$", lines[2])
    assert re.match(r"\d\d:\d\d:\d\d ✓ main succeeded in .* · 1 succeeded · run \w{16}$", lines[3])
    assert len(lines) == 4
    assert "\x1b" not in ended.stderr


def test_text_without_a_newline_is_shown_when_its_attempt_ends_and_async_tasks_do_not_mix(place):
    ended = place.run("""
    @task
    async def spell(n: int) -> None:
        for letter in "abc":
            print(f"{letter}{n}", end="")
            await asyncio.sleep(0)
    @task
    def half() -> None:
        print("half", end="")
    @task(executor="processes")
    def far() -> None:
        print("far", end="")
    @flow
    async def main() -> None:
        await asyncio.gather(spell(1), spell(2))
        half.submit()
        far.submit()
    asyncio.run(main())
    """)
    assert ended.stdout == ""
    said = sorted(line.split(" │ ")[1] for line in ended.stderr.splitlines() if " │ " in line)
    assert said == ["a1b1c1", "a2b2c2", "far", "half"]


def test_a_progress_bar_in_a_task_is_one_line(place):
    ended = place.run("""
    @task
    def bar() -> None:
        for n in range(101):
            sys.stderr.write(f"\\r{n}%")
        sys.stderr.write("\\n")
    @flow
    def main() -> None:
        bar()
    main()
    """)
    assert [line.split(" │ ")[1] for line in ended.stderr.splitlines() if " │ " in line] == ["100%"]


def test_a_handler_of_the_users_own_does_not_double_what_is_shown(place):
    ended = place.run("""
    logging.basicConfig(level=logging.INFO, format="MINE %(message)s")
    @task
    def say() -> None:
        logging.info("inside")
    @flow
    def main() -> None:
        say()
    main()
    logging.info("outside")
    """)
    assert ended.stderr.count("inside") == 1
    assert "say │ inside" in ended.stderr
    assert ended.stderr.endswith("MINE outside\n")


def test_what_was_found_finished_by_a_run_that_goes_on_is_told(place):
    text = """
    @task
    def count(n: int) -> int:
        return n
    @task
    def last() -> None:
        if not os.path.exists("flag"):
            os._exit(9)
    @flow
    def main() -> None:
        count.map([1, 2, 3]).wait()
        last()
    main.with_options(resume=True)()
    """
    assert place.run(text).returncode == 9
    (place.folder / "flag").touch()
    assert "3 of 4 task runs were found finished" in place.run(text).stderr


def test_a_retry_is_told_with_its_reason(place):
    ended = place.run("""
    @task(retry=Retry(1, delay=0))
    def shaky() -> None:
        if current.attempt == 1:
            raise ConnectionError("hung up")
    @flow
    def main() -> None:
        shaky()
    main()
    """)
    assert "↻ shaky is tried again at once (attempt 1 ended): ConnectionError: hung up" in ended.stderr


def test_none_shows_nothing_but_what_the_user_prints(place):
    ended = place.run(
        """
        @task
        def say() -> None:
            print("task")
            logging.info("not shown")
        @task(executor="processes")
        def far() -> None:
            print("far")
        @flow
        def main() -> None:
            print("body", flush=True)
            say()
            sys.stdout.flush()
            far()
        main()
        """,
        OSTINATO_DISPLAY="none",
    )
    assert ended.stdout == "body\ntask\nfar\n"
    assert ended.stderr == ""


def test_none_leaves_pythons_own_traceback(place):
    ended = place.run("@flow\ndef main() -> None:\n    1 / 0\nmain()\n", OSTINATO_DISPLAY="none")
    assert ended.stderr.startswith("Traceback (most recent call last):")
    assert ended.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_an_error_with_a_cause_is_shown_with_its_cause(place):
    ended = place.run("""
    @flow
    def main() -> None:
        try:
            {}["x"]
        except KeyError as error:
            raise ValueError("no x") from error
    main()
    """)
    assert ended.stderr.count("ValueError: no x") == 2  # its line, and the end of the chain
    assert "direct cause" in ended.stderr
    assert ended.returncode == 1


def test_two_flows_at_once_in_one_process_share_one_display(place):
    ended = place.run("""
    import threading
    both = threading.Barrier(2)
    @task
    def say(n: int) -> None:
        both.wait()
        print("said", n)
    @flow
    def main(n: int) -> None:
        say(n)
    before = sys.stdout, sys.stderr
    threads = [threading.Thread(target=main, args=(n,)) for n in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(before == (sys.stdout, sys.stderr))
    """)
    assert ended.stdout == "True\n"
    assert ended.stderr.count("main started") == 2
    assert ended.stderr.count("main succeeded") == 2
    assert ended.stderr.count("said 1") == 1


def test_a_process_that_forked_prints_where_it_always_did(place):
    ended = place.run("""
    @task
    def fork() -> None:
        child = os.fork()
        if child == 0:
            print("from the child", flush=True)
            os._exit(0)
        os.waitpid(child, 0)
    @flow
    def main() -> None:
        fork()
    main()
    """)
    assert ended.stdout == "from the child\n"


# --- what it costs


def test_what_is_kept_does_not_grow_with_the_number_of_items(tmp_path, monkeypatch):
    monkeypatch.setenv("OSTINATO_HOME", str(tmp_path))
    monkeypatch.setenv("OSTINATO_DISPLAY", "none")
    tally = Tally()
    seen = []

    @task
    def same(n: int) -> int:
        return n

    @flow
    def main() -> None:
        same.map(range(2_000)).wait()
        seen.extend(tally.heads)

    unsubscribe = telemetry.subscribe(tally.hear)
    try:
        main()
    finally:
        unsubscribe()
    (head,) = seen
    (line,) = head.children.values()
    assert line.succeeded == 2_000
    assert line.mapped() == (2_000, 2_000)
    assert len(line.maps) == 1
    assert not line.pauses
    assert len(tally.news) == 2  # the beginning and the end
