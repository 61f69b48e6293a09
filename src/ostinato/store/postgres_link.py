"""Connections to PostgreSQL: a few, made when needed, made again when the server went away; its errors explained."""

from __future__ import annotations

import contextlib
import random
import secrets
import threading
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

import psycopg
from psycopg import conninfo, errors

from ostinato.errors import SchemaError, StoreError, StoreUnavailableError
from ostinato.store import revisions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg.rows import TupleRow

T = TypeVar("T")
Connection = psycopg.Connection[Any]

_SIZE: Final = 8
"""Connections at most. They are taken last in, first out, so a process with one busy thread makes one."""
PATIENCE: Final = 30.0
"""Seconds during which a store that was reachable once is tried again."""

_SYNCHRONOUS: Final = {"durable": "on", "crash-safe": "off"}
_DEFAULTS: Final = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
    "client_encoding": "utf8",
}
_CONFLICTS: Final = ("40001", "40P01")
_PASSING: Final = (*_CONFLICTS, "57P01", "57P02", "57P03", "53300", "25006")
"""Errors that another try may not meet: conflicts, shut-down, starting up, too many clients, a standby."""


class Link:
    """A few connections to one database, shared by all threads of a store."""

    def __init__(self, url: str, durability: str) -> None:
        """Connect once, and look whether the database is ours and of this version.

        Raises:
            StoreUnavailableError: If the server cannot be reached.
            SchemaError: If the database has no tables of ours, or older or newer ones.
        """
        try:
            given = conninfo.conninfo_to_dict(url)
        except psycopg.Error as error:
            raise StoreUnavailableError(f"That is no PostgreSQL address: {str(error).strip()}.") from error
        self.name = f"ostinato-{secrets.token_hex(6)}"
        self._info = conninfo.make_conninfo("", **{**_DEFAULTS, **given, "application_name": self.name})
        self.location = _location(given)
        self._settings = (
            f"SET synchronous_commit = {_SYNCHRONOUS[durability]}; "
            "SET default_transaction_isolation = 'read committed'; SET jit = off; SET statement_timeout = 0"
        )
        self._idle: list[Connection] = []
        self._room = threading.BoundedSemaphore(_SIZE)
        self._closed = False
        try:
            with self._connection() as connection:
                _check_schema(connection, self.location)
        except psycopg.Error as error:
            self.close()
            raise self.explain(error) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the idle connections; those in use close when they come back."""
        self._closed = True
        self._drop_idle()

    def persist(self, work: Callable[[Connection, int | None], T]) -> T:
        """Do some work with a connection; where that was lost, with a new one, for half a minute at most.

        Args:
            work: Takes the connection, and the process id of the server's end of the connection that was lost in
                the middle of the last try, None in the first one.

        Raises:
            StoreError: What the database said in the end, explained.
        """
        deadline = time.monotonic() + PATIENCE
        pause, lost = 0.05, None
        while True:
            pid = None
            try:
                with self._connection() as connection:
                    pid = connection.info.backend_pid
                    return work(connection, lost)
            except psycopg.Error as error:
                if self._closed or not is_passing(error) or time.monotonic() + pause > deadline:
                    raise self.explain(error) from error
                if error.sqlstate not in _CONFLICTS:
                    lost = pid or lost
                    self._drop_idle()
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, 2.0)

    def end_backend(self, connection: Connection, pid: int) -> None:
        """Make sure that the server no longer works for a connection that was lost."""
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid = %s AND application_name = %s",
            (pid, self.name),
        )

    def explain(self, error: psycopg.Error) -> StoreError:
        """Say what an error means for the one who operates this: what happened, and what to do."""
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if isinstance(error, errors.DiskFull):
            return StoreUnavailableError(f"The disk of {self.location} is full ({said}), nothing was written.")
        if isinstance(error, errors.InsufficientPrivilege):
            return StoreUnavailableError(f"{self.location} does not let this user do that: {said}.")
        if isinstance(error, errors.UndefinedTable | errors.UndefinedColumn):
            return SchemaError(f"{self.location} lacks what should be there ({said}). Run `ostinato db upgrade`.")
        if isinstance(error, errors.IntegrityError):
            return StoreError(f"{self.location} refused a row: {said}. This is a defect of Ostinato; please report it.")
        return StoreUnavailableError(
            f"The database {self.location} cannot be reached or does not answer: {said}. Look whether the server "
            f"runs and whether OSTINATO_DATABASE names it rightly."
        )

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Connection]:
        with self._room:
            if self._closed:
                raise StoreUnavailableError(f"The store {self.location} has been closed.")
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self.connect()
            try:
                yield connection
            except psycopg.Error:
                # psycopg takes for prepared what it has sent after the statement that failed, and was passed over
                connection.close()
                raise
            except BaseException:
                _reset(connection)
                raise
            finally:
                self._give_back(connection)

    def _give_back(self, connection: Connection) -> None:
        if self._closed:
            connection.close()
        elif not connection.closed:
            self._idle.append(connection)

    def connect(self) -> Connection:
        """Make a connection beside the few; whoever asks for it closes it."""
        connection: psycopg.Connection[TupleRow] = psycopg.connect(self._info, autocommit=True, prepare_threshold=2)
        connection.execute(self._settings)
        return connection

    def _drop_idle(self) -> None:
        while True:
            try:
                self._idle.pop().close()
            except IndexError:
                return


def is_passing(error: psycopg.Error) -> bool:
    """Tell whether the same may well go through when it is tried again."""
    if error.sqlstate is None:
        # no word from the server: the connection could not be made, or is gone
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate in _PASSING or error.sqlstate.startswith("08")


def _reset(connection: Connection) -> None:
    """Bring a connection out of whatever an exception left it in; close it where that fails."""
    try:
        if not connection.closed and connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            connection.execute("ROLLBACK")
    except psycopg.Error:
        connection.close()


def _check_schema(connection: Connection, location: str) -> None:
    try:
        found = connection.execute(
            "SELECT version_num, current_setting('server_encoding'), to_regclass('task_run') FROM alembic_version"
        ).fetchone()
    except errors.UndefinedTable:
        raise SchemaError(
            f"The database {location} has no tables of Ostinato yet. Run `ostinato db upgrade` to make them."
        ) from None
    revision, encoding, table = found or (None, "UTF8", "")
    if table is None:
        raise SchemaError(f"The database {location} belongs to another program. Make one for Ostinato alone.")
    revisions.HISTORY.check(revision, location, _fits_from(connection))
    if encoding != "UTF8":
        raise SchemaError(
            f"The database {location} keeps texts as {encoding}; Ostinato needs one made with ENCODING 'UTF8'."
        )


def _fits_from(connection: Connection) -> str | None:
    """Tell the oldest revision whose code fits the database, None for one too old to know."""
    try:
        found = connection.execute("SELECT revision FROM fits_from").fetchone()
    except errors.UndefinedTable:
        return None
    return found[0] if found else None


def _location(given: dict[str, Any]) -> str:
    user = f"{given['user']}@" if given.get("user") else ""
    port = f":{given['port']}" if given.get("port") else ""
    return f"postgresql://{user}{given.get('host') or ''}{port}/{given.get('dbname') or ''}"
