"""The SQLite file: made, recognised, shared, and what is said when something is wrong with it."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.store.builders import a_run, a_task_run, a_worker

from ostinato.clock import ManualClock
from ostinato.errors import SchemaError, StoreError, StoreUnavailableError
from ostinato.records import Commit
from ostinato.store import sqlite as sqlite_store
from ostinato.store.filelock import FileLock
from ostinato.store.revisions import HEAD
from ostinato.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the test's database is, or will be."""
    return tmp_path / "home" / "o.db"


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands still."""
    return ManualClock()


@pytest.fixture
def made(path: Path, clock: ManualClock) -> Path:
    """A database with one run in it, closed."""
    store = SqliteStore(path, clock=clock)
    a_run(store, None, id="r1")
    store.close()
    return path


def test_file_and_its_directory_are_made_for_their_owner_alone(path: Path) -> None:
    SqliteStore(path).close()
    assert path.is_file()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_opening_loads_neither_sqlalchemy_nor_alembic_nor_psycopg(path: Path) -> None:
    code = (
        "import sys; from ostinato.store.open import open_store; open_store(sys.argv[1]).close();"
        "print([name for name in ('sqlalchemy', 'alembic', 'psycopg') if name in sys.modules])"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, env=env, check=True)
    assert done.stdout == "[]\n"


def test_database_is_read_again_after_closing(made: Path) -> None:
    store = SqliteStore(made)
    assert store.get_run("r1").id == "r1"
    store.close()
    store.close()
    assert not Path(f"{made}-wal").exists(), "the last one to close leaves no log behind"
    for verb in (lambda: store.get_run("r1"), lambda: store.commit("r1", 1, Commit()), store.sweep):
        with pytest.raises(StoreUnavailableError, match="closed"):
            verb()


@pytest.mark.parametrize(("durability", "level"), [("durable", 2), ("crash-safe", 1)])
def test_durability_is_what_sqlite_is_told(path: Path, durability: str, level: int) -> None:
    store = SqliteStore(path, durability=durability)
    db = store._writer
    assert db.execute("PRAGMA synchronous").fetchone() == (level,)
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)
    store.get_run(a_run(store, None).id)
    assert store._reader is not None
    assert store._reader.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)
    assert store.info().durability == durability
    store.close()


def test_log_is_checkpointed_now_and_then_and_does_not_grow_forever(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_store, "_CHECKPOINT_PAGES", 50)
    store = SqliteStore(path, durability="crash-safe")
    run = a_run(store)
    sizes = []
    for seq in range(600):
        store.commit(run.id, 1, Commit(task_runs=[a_task_run(run, seq, result=b"x" * 3000)]))
        sizes.append(Path(f"{path}-wal").stat().st_size)
    assert max(sizes[300:]) == max(sizes[:300]) < 3_000_000
    store.close()


def test_file_that_is_not_sqlite_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("a diary, not a database\n" * 100)
    with pytest.raises(SchemaError, match=r"is not a SQLite database.*OSTINATO_DATABASE"):
        SqliteStore(path)
    assert path.read_text().startswith("a diary")


def test_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    for table in ("bookmarks", "alembic_version"):
        path.unlink(missing_ok=True)
        db = sqlite3.connect(path)
        db.execute(f"CREATE TABLE {table} (version_num TEXT)")
        db.execute(f"INSERT INTO {table} VALUES ('ab12')")
        db.commit()
        db.close()
        before = path.read_bytes()
        with pytest.raises(SchemaError, match="another program"):
            SqliteStore(path)
        assert path.read_bytes() == before


def test_damaged_database_is_said_to_be_so(made: Path) -> None:
    data = bytearray(made.read_bytes())
    data[4096 * 2 :] = os.urandom(len(data) - 4096 * 2)
    made.write_bytes(data)

    def read_all() -> None:
        store = SqliteStore(made)
        with contextlib.closing(store):
            store.list_workers()
            store.get_run("r1")
            store.info()

    with pytest.raises(SchemaError, match="damaged"):
        read_all()


def test_truncated_database_is_said_to_be_so(made: Path) -> None:
    made.write_bytes(made.read_bytes()[:5000])
    with pytest.raises((SchemaError, StoreUnavailableError), match=r"damaged|failed"):
        SqliteStore(made).list_workers()


def revised(path: Path, revision: str | None, fits_from: str = "0001") -> None:
    db = sqlite3.connect(path)
    db.execute("UPDATE fits_from SET revision = ?", (fits_from,))
    db.execute("DELETE FROM alembic_version")
    if revision is not None:
        db.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
    db.commit()
    db.close()


def test_newer_database_asks_for_a_newer_ostinato(made: Path) -> None:
    revised(made, "9999", fits_from="9998")
    with pytest.raises(SchemaError, match=r"newer Ostinato.*9999.*Upgrade this installation"):
        SqliteStore(made)


def test_newer_database_that_fits_this_version_is_opened(made: Path) -> None:
    revised(made, "9999", fits_from=HEAD)
    SqliteStore(made).close()


def test_older_database_asks_for_an_upgrade(made: Path) -> None:
    revised(made, "0001")
    with pytest.raises(SchemaError, match=r"0001.*needs 0004.*ostinato db upgrade"):
        SqliteStore(made)
    revised(made, None)
    with pytest.raises(SchemaError, match="ostinato db upgrade"):
        SqliteStore(made)


def test_creation_that_was_interrupted_is_begun_again(path: Path) -> None:
    path.parent.mkdir()
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode = WAL")
    db.close()
    store = SqliteStore(path)
    assert store.info().revision == HEAD
    store.close()


def test_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailableError, match=r"file.*OSTINATO_HOME"):
        SqliteStore(tmp_path / "file" / "o.db")


READ_ONLY = """
import os, sys
from ostinato.errors import StoreUnavailableError
from ostinato.store.filelock import FileLock
from ostinato.store.sqlite import SqliteStore
path, uid = sys.argv[1], int(sys.argv[2])
if uid: os.setgroups([]); os.setgid(uid); os.setuid(uid)
try:
    SqliteStore(path)
except StoreUnavailableError as error:
    print(error)
"""


def test_read_only_home_is_said_to_be_so(made: Path, tmp_path: Path) -> None:
    # a directory above tmp_path may be closed to others; so a short one of our own
    home = Path("/tmp") / f"ro{os.getpid()}"
    shutil.copytree(made.parent, home)
    try:
        for each in home.iterdir():
            each.chmod(0o444)
        home.chmod(0o555)
        uid = 65534 if os.geteuid() == 0 else 0
        env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", READ_ONLY, str(home / made.name), str(uid)],
            capture_output=True, text=True, env=env, cwd="/", check=False,
        )  # fmt: skip
        assert "cannot be used: Permission denied" in done.stdout, done.stderr
        assert str(home) in done.stdout
    finally:
        home.chmod(0o755)
        shutil.rmtree(home)


@pytest.mark.parametrize("act", ["removed", "replaced"])
def test_file_that_vanishes_while_in_use_is_noticed_before_anything_is_lost(made: Path, act: str) -> None:
    store = SqliteStore(made)
    run = a_run(store)
    if act == "replaced":
        shutil.copy(made, made.with_suffix(".new"))
        made.with_suffix(".new").replace(made)
    else:
        made.unlink()
    with pytest.raises(StoreUnavailableError, match="moved, removed or replaced"):
        store.commit(run.id, 1, Commit(task_runs=[a_task_run(run)]))
    store.close()


def test_lock_of_another_program_is_named(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ostinato.store.sqlite_file._PATIENCE", 0.05)
    store = SqliteStore(made)
    run = a_run(store)
    db = sqlite3.connect(made)
    db.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailableError, match="Another program holds"):
        store.commit(run.id, 1, Commit(task_runs=[a_task_run(run)]))
    db.close()
    store.commit(run.id, 1, Commit(task_runs=[a_task_run(run)]))
    assert len(list(store.load(run.id))) == 1
    store.close()


def test_writer_waits_for_the_lock_that_another_process_holds(made: Path) -> None:
    store = SqliteStore(made)
    run = a_run(store)
    lock = FileLock(f"{made}.lock")
    lock.acquire()
    thread = threading.Thread(target=store.commit, args=(run.id, 1, Commit(task_runs=[a_task_run(run)])))
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    assert list(store.load(run.id)) == []
    lock.release()
    thread.join()
    assert len(list(store.load(run.id))) == 1
    lock.close()
    store.close()


def test_reader_does_not_wait_for_a_writer(made: Path) -> None:
    writer, reader = SqliteStore(made), SqliteStore(made)
    with writer._transaction() as db:
        db.execute("UPDATE run SET flow = 'changed'")
        assert reader.get_run("r1").flow == "f"
    assert reader.get_run("r1").flow == "changed"
    writer.close()
    reader.close()


def test_interruption_in_the_middle_of_a_commit_leaves_nothing(made: Path, clock: ManualClock) -> None:
    store = SqliteStore(made, clock=clock)
    run = a_run(store)

    class Interrupted(ManualClock):
        def now(self) -> int:
            raise KeyboardInterrupt

    store._clock = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        store.commit(run.id, 1, Commit(task_runs=[a_task_run(run)]))
    store._clock = clock
    assert list(store.load(run.id)) == []
    store.commit(run.id, 1, Commit(task_runs=[a_task_run(run)]))
    assert len(list(store.load(run.id))) == 1
    store.close()


KILLED = """
import os, sys
from ostinato.records import Commit
from ostinato.store.filelock import FileLock
from ostinato.store.sqlite import SqliteStore
from tests.store.builders import a_run, a_task_run
store = SqliteStore(sys.argv[1], durability="crash-safe", lease=600)
run = a_run(store, "w9")
print(run.id, flush=True)
for seq in range(10**9):
    store.commit(run.id, 1, Commit(task_runs=[a_task_run(run, 2 * seq), a_task_run(run, 2 * seq + 1)]))
    print(seq, flush=True)
"""


def test_what_was_acknowledged_survives_kill_9_and_commits_are_whole(made: Path) -> None:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(made)], stdout=subprocess.PIPE, text=True, env=env
    ) as process:
        assert process.stdout is not None
        run_id = process.stdout.readline().strip()
        lines = [process.stdout.readline() for _ in range(300)]
        process.kill()
        lines += process.stdout.readlines()
    acknowledged = int([line for line in lines if line.endswith("\n")][-1])
    store = SqliteStore(made)
    found = [row.seq for row in store.load(run_id)]
    assert len(found) >= 2 * (acknowledged + 1)
    assert found == list(range(len(found)))
    assert len(found) % 2 == 0
    store.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    where = tmp_path / "small"
    where.mkdir()
    if shutil.which("mount") is None or os.name != "posix" or os.geteuid() != 0:
        pytest.skip("making a small file system takes root")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(where)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)


def test_full_disk_is_said_to_be_so_and_the_store_works_again_after(small_disk: Path) -> None:
    store = SqliteStore(small_disk / "o.db", lease=600)
    run = a_run(store)
    done = 0

    def fill() -> None:
        nonlocal done
        while True:
            rows = [a_task_run(run, done), a_task_run(run, done + 1, result=b"x" * 9000)]
            store.commit(run.id, 1, Commit(task_runs=rows))
            done += 2

    with pytest.raises(StoreUnavailableError, match="full"):
        fill()
    assert len(list(store.load(run.id))) == done > 0, "nothing half-written"
    with pytest.raises(StoreError):
        store.commit(run.id, 1, Commit(task_runs=[a_task_run(run, done, result=b"x" * 3_000_000)]))
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    store.commit(run.id, 1, Commit(task_runs=[a_task_run(run, done)]))
    assert len(list(store.load(run.id))) == done + 1
    a_worker(store, "w2")
    store.close()
