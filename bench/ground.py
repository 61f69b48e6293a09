"""Where the suite runs: a folder on the disk, databases in it, and child processes that measure.

Everything that is timed happens in a process of its own (`Ground.child`), started without the settings of whoever
runs the suite and with bytecode allowed, so that one measurement does not warm or bloat the next.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.postgres import PostgresServer

ROOT = Path(__file__).resolve().parent.parent
_ANSWER = "answer: "


@dataclass(frozen=True)
class Database:
    """A fresh database, and how durable its commits are."""

    kind: str
    url: str
    durability: str

    @property
    def name(self) -> str:
        """Its name in a table."""
        return f"{self.kind} {self.durability}"


@dataclass
class Ground:
    """A folder, a PostgreSQL where one is installed, and how much time there is."""

    folder: Path
    quick: bool
    server: PostgresServer | None = None
    template: str | None = None
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def rounds(self, usual: int) -> int:
        """Say how often to measure: twice when it has to be quick."""
        return min(usual, 2) if self.quick else usual

    def size(self, usual: int, quick: int) -> int:
        """Say how much to measure."""
        return quick if self.quick else usual

    def place(self) -> Path:
        """Make a folder."""
        path = self.folder / f"{next(self._numbers)}"
        path.mkdir()
        return path

    def sqlite(self, durability: str = "durable") -> Database:
        """Name a SQLite file that is not there yet."""
        return Database("SQLite", f"sqlite:///{self.place() / 'bench.db'}", durability)

    def postgres(self, template: str | None = None) -> Database | None:
        """Make a PostgreSQL database with the tables in it, or with all of another's; None without a server."""
        if self.server is None:
            return None
        name = self.server.new_database(template or self.template)
        return Database("PostgreSQL", self.server.url(name), "durable")

    def databases(self, *, crash_safe: bool = False) -> list[Database]:
        """Make one database of each kind that there is."""
        found = [self.sqlite(), self.sqlite("crash-safe") if crash_safe else None, self.postgres()]
        return [database for database in found if database is not None]

    def environment(self, database: Database | None = None, **more: str) -> dict[str, str]:
        """Return a child's environment: nothing of whoever runs the suite but where Python finds its packages."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("OSTINATO_") and name not in {"PYTHONDONTWRITEBYTECODE", "PYTHONPROFILEIMPORTTIME"}
        }
        kept |= {"OSTINATO_DISPLAY": "none", "OSTINATO_HOME": str(self.folder / "home")} | more
        if database is not None:
            kept |= {"OSTINATO_DATABASE": database.url, "OSTINATO_DURABILITY": database.durability}
        return kept

    def child(self, name: str, *args: Any, database: Database | None = None, **more: str) -> Any:
        """Run ``bench/NAME.py ARGS…`` and return what it answered."""
        process = self.spawn(name, *args, database=database, **more)
        output, _ = process.communicate()
        if process.returncode:
            raise RuntimeError(f"bench/{name}.py {' '.join(map(str, args))} failed with {process.returncode}.")
        return read_answer(output)

    def spawn(self, name: str, *args: Any, database: Database | None = None, **more: str) -> subprocess.Popen[str]:
        """Start ``bench/NAME.py ARGS…``."""
        environment = self.environment(database, **more)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), environment.get("PYTHONPATH"))))
        return subprocess.Popen(
            [sys.executable, "-P", str(ROOT / "bench" / f"{name}.py"), *map(str, args)],
            cwd=self.folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip


def answer(value: Any) -> None:
    """Tell the parent what was measured."""
    print(_ANSWER + json.dumps(value), flush=True)


def read_answer(output: str) -> Any:
    """Return what a child told."""
    for line in reversed(output.splitlines()):
        if line.startswith(_ANSWER):
            return json.loads(line.removeprefix(_ANSWER))
    raise RuntimeError(f"A child of the benchmark gave no answer; it wrote: {output[-500:]!r}")


def columns(rows: list[Mapping[str, float]]) -> dict[str, tuple[float, ...]]:
    """Turn a child's rounds, one mapping each, into what each name measured."""
    return {name: tuple(row[name] for row in rows) for name in rows[0]}


@contextlib.contextmanager
def ground(folder: Path | None, *, quick: bool) -> Iterator[Ground]:
    """Make a place to measure in, and remove all of it at the end."""
    with tempfile.TemporaryDirectory(prefix="ostinato-bench-", dir=folder) as place, contextlib.ExitStack() as stack:
        made = Ground(Path(place), quick)
        (made.folder / "home").mkdir()
        made.server = _server(stack)
        if made.server is not None:
            from ostinato.store import migrate  # loads SQLAlchemy

            made.template = made.server.new_database()
            migrate.upgrade(made.server.url(made.template))
        yield made


def _server(stack: contextlib.ExitStack) -> PostgresServer | None:
    try:
        import psycopg  # noqa: F401  not installed everywhere
        from tests.postgres import MissingError, PostgresServer
    except ModuleNotFoundError as error:
        print(f"Without PostgreSQL: {error}.", file=sys.stderr)
        return None
    try:
        server = PostgresServer()
    except MissingError as error:
        print(f"Without PostgreSQL: {error}", file=sys.stderr)
        return None
    stack.callback(server.stop)
    return server
