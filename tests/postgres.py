"""A private PostgreSQL for the tests: one server a session, one fresh database a test.

The server runs as a user that is not root, listens on a Unix socket in a short temporary directory only, and syncs
its writes as a real one does. It ends with the session, and with the test process however that ends (on Linux).
Where no PostgreSQL is installed the tests that want one are skipped, except under CI, where that is a failure.

Use it from a `conftest.py`: ``from tests.postgres import postgres_server, postgres_url  # noqa: F401``.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_SETTINGS = {
    "listen_addresses": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "deadlock_timeout": "200ms",
    "autovacuum": "on",
}
_PATIENCE = 30.0


class MissingError(Exception):
    """There is no PostgreSQL on this machine."""


class PostgresServer:
    """A running PostgreSQL of our own, in a directory of its own."""

    def __init__(self) -> None:
        self.bin = find_binaries()
        self._user = _unprivileged()
        self.home = Path(tempfile.mkdtemp(prefix="opg", dir="/tmp" if Path("/tmp").is_dir() else None))
        if self._user is not None:
            os.chown(self.home, self._user.pw_uid, self._user.pw_gid)
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        try:
            self._run(
                "initdb",
                "-D",
                str(self.home / "data"),
                "-U",
                "ostinato",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C",
                "-N",
            )
            self.start()
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int | None:
        """The postmaster's process id, None when it does not run."""
        return None if self._process is None else self._process.pid

    def url(self, database: str = "postgres") -> str:
        """Return the address of a database of this server."""
        return f"postgresql://ostinato@/{database}?host={self.home}"

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        settings = _SETTINGS | {"unix_socket_directories": str(self.home)}
        options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        with (self.home / "log").open("ab") as log:
            self._process = self._popen("postgres", "-D", str(self.home / "data"), *options, stdout=log, stderr=log)
        pid_file = self.home / "data" / "postmaster.pid"
        until = time.monotonic() + _PATIENCE
        while not _is_ready(pid_file, self._process.pid):
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError("PostgreSQL did not start:\n" + (self.home / "log").read_text(errors="replace"))
            time.sleep(0.02)

    def halt(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server, by default fast (SIGINT); SIGQUIT lets it crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(_PATIENCE)
            self._process = None

    def stop(self) -> None:
        """Stop the server and remove its directory."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.halt(signal.SIGQUIT)
        shutil.rmtree(self.home, ignore_errors=True)

    def new_database(self, template: str | None = None) -> str:
        """Make a database and return its name."""
        name = f"t{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is connected to it."""
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def execute(self, statement: str) -> None:
        """Run one statement in the database `postgres`."""
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[call-overload]

    def _run(self, name: str, *args: str) -> None:
        process = self._popen(name, *args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output, _ = process.communicate()
        if process.returncode:
            raise RuntimeError(f"{name} failed:\n{output.decode(errors='replace')}")

    def _popen(self, name: str, *args: str, **streams: object) -> subprocess.Popen[bytes]:
        who = (
            {}
            if self._user is None
            else {
                "user": self._user.pw_uid,
                "group": self._user.pw_gid,
                "extra_groups": [],
            }
        )
        return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
            [str(self.bin / name), *args],
            cwd=self.home,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            preexec_fn=_die_with_parent,  # noqa: PLW1509  no thread runs yet that could matter
            **who,
            **streams,
        )


def find_binaries() -> Path:
    """Return the directory with `initdb` and `postgres`, of the newest version there is.

    Raises:
        MissingError: If there is none.
    """
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    found = sorted(versions, key=lambda path: float(path.parent.parent.name))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    if on_path and shutil.which("postgres"):
        return Path(on_path).resolve().parent
    raise MissingError(
        "There is no PostgreSQL server: neither in /usr/lib/postgresql/*/bin nor on the PATH "
        "(Debian: apt install postgresql)."
    )


def _unprivileged() -> pwd.struct_passwd | None:
    """Return whom to run the server as, None for who we are."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise MissingError("PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody` to run it as.")


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGQUIT)  # PR_SET_PDEATHSIG


def _is_ready(pid_file: Path, pid: int) -> bool:
    try:
        lines = pid_file.read_text().splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server for this session (for this process of it, under xdist)."""
    try:
        import psycopg  # noqa: F401

        server = PostgresServer()
    except (MissingError, ModuleNotFoundError) as error:
        if os.environ.get("CI"):
            pytest.fail(f"The tests need PostgreSQL under CI. {error}")
        pytest.skip(str(error))
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer) -> str:
    """A database with the schema in it, to copy."""
    from ostinato.store import migrate

    name = postgres_server.new_database()
    migrate.upgrade(postgres_server.url(name))
    return name


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, postgres_template: str) -> Iterator[str]:
    """The address of a fresh database with the schema in it."""
    name = postgres_server.new_database(postgres_template)
    yield postgres_server.url(name)
    postgres_server.drop_database(name)
