"""One door to the stores: an address in, an open store out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ostinato.errors import SettingError, nearest

if TYPE_CHECKING:
    from ostinato.clock import Clock
    from ostinato.store.store import Store

DURABILITIES: Final = ("durable", "crash-safe")
_POSTGRES: Final = ("postgresql", "postgres", "postgresql+psycopg")
_SERVERS: Final = ("http", "https")


def open_store(
    url: str,
    *,
    durability: str = "durable",
    clock: Clock | None = None,
    lease: float = 8.0,
    max_recoveries: int = 3,
    token: str = "",
) -> Store:
    """Open the store at an address.

    Args:
        url: ``sqlite:///path/to/file.db``, a plain path, ``postgresql://user@host/database``, or a server's
            ``http://host:port``, which keeps the durability of its own.
        durability: ``durable``: what was acknowledged survives a loss of power. ``crash-safe``: it survives the
            end of any process.
        clock: What tells the time; if None, the machine's clock for SQLite, the server's for PostgreSQL.
        lease: Seconds that a worker's lease lasts.
        max_recoveries: How often in a row, without progress, a run whose process was lost is begun again.
        token: What is shown to a server.

    Raises:
        SettingError: If the address or the durability is none of these.
        StoreUnavailableError: If the database cannot be reached.
        SchemaError: If it is older or newer than this version, or not Ostinato's.
    """
    if durability not in DURABILITIES:
        raise SettingError(
            f"durability is {' or '.join(map(repr, DURABILITIES))}, not {durability!r}."
            + nearest(durability, DURABILITIES)
        )
    scheme, found, rest = url.partition("://")
    if not found or scheme == "sqlite":
        from ostinato.store.sqlite import SqliteStore

        return SqliteStore(
            sqlite_path(url), durability=durability, clock=clock, lease=lease, max_recoveries=max_recoveries
        )
    if scheme in _SERVERS:
        from ostinato.store.remote import RemoteStore

        return RemoteStore(url, token=token, clock=clock, lease=lease)
    if scheme not in _POSTGRES:
        raise SettingError(
            f"A database is sqlite:///PATH, a path or postgresql://USER@HOST/NAME, not {scheme}://…."
            + nearest(scheme, ("sqlite", *_POSTGRES, *_SERVERS))
        )
    try:
        from ostinato.store.postgres import PostgresStore
    except ModuleNotFoundError as error:
        if error.name != "psycopg":
            raise
        raise SettingError(
            "PostgreSQL needs the driver psycopg, which is not installed. Install it: pip install 'ostinato[postgres]'."
        ) from error
    return PostgresStore(
        f"postgresql://{rest}", durability=durability, clock=clock, lease=lease, max_recoveries=max_recoveries
    )


def sqlite_path(url: str) -> str:
    """Return the path in ``sqlite:///relative``, ``sqlite:////absolute`` or a plain path.

    Raises:
        SettingError: If there is none in it.
    """
    if not url.startswith("sqlite://"):
        path = url
    elif not url.startswith("sqlite:///"):
        raise SettingError(f"{url!r} has no path: write sqlite:///relative/path or sqlite:////absolute/path.")
    else:
        path = url.removeprefix("sqlite:///")
    if not path or path == ":memory:":
        raise SettingError(f"{url!r} names no file: several processes share the database, so it must be one.")
    return path
