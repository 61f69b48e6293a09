"""The settings, all of them: environment ``OSTINATO_*`` first, then ``[tool.ostinato]`` in ``pyproject.toml``.

Nothing is read when this module is imported; `load_settings` reads when a run starts or a command is given.
`origins` says where each value came from, for ``ostinato config show``.
"""

from __future__ import annotations

import functools
import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from ostinato.errors import SettingError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

_PROJECT = "project"
"""The one table inside ``[tool.ostinato]``: it says what the folder's project is, see `ostinato.authoring.project`."""

_OTHERS = ("OSTINATO_BENCH", "OSTINATO_CHANNEL_")
"""Variables that begin like settings and are none: a channel's address belongs to the server's environment."""

Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What can be set. Each field is ``OSTINATO_<NAME>`` in the environment."""

    home: str = "~/.ostinato"
    """The folder of everything that is kept where nothing else is said."""
    database: str = ""
    """The database's URL: ``sqlite:///path`` or ``postgresql://…``; by default a SQLite file in the home."""
    api: str = ""
    """The URL of a server, ``http://127.0.0.1:4600``: runs are then kept there, not in a database of one's own.
    Of several servers on one database, separated by commas, the next is asked while one is away."""
    token: str = ""
    """What is shown to the server."""
    results: str = ""
    """The URL of the result store: a folder, ``s3://…``, ``gs://…``; by default a folder in the home."""
    durability: Literal["durable", "crash-safe"] = "durable"
    """What an acknowledged result survives: power loss, or only the death of the process."""
    lease: Positive = 8.0
    """Seconds after which a process that was not heard of no longer holds its runs."""
    max_recoveries: Annotated[int, msgspec.Meta(ge=0)] = 3
    """How often in a row, without progress, a run whose process was lost is begun again by itself."""
    suspend_after: Positive = 5.0
    """Seconds of waiting for nothing but other runs or later times, after which a run gives up its process."""
    slots: Annotated[int, msgspec.Meta(ge=0)] = 0
    """How many task runs execute at once in a run; 0 for the executor's own choice."""
    executor: str = "threads"
    """Where task runs execute unless flow or task say otherwise: ``threads``, ``processes``, ``inline``."""
    inline_limit: Count = 4096
    """Results up to this many bytes are kept in the database, larger ones in the result store."""
    inputs_limit: Count = 262_144
    """Inputs up to this many bytes are recorded for ``ostinato debug``; larger ones only when the task fails."""
    retention_days: Positive = 30.0
    """Days after which runs that ended are forgotten, with their task runs, results and questions."""
    retention_logs_days: Positive = 30.0
    """Days after which log lines are forgotten, whatever their runs."""
    retention_events_days: Positive = 14.0
    """Days after which events are forgotten that everybody has read, and what automations came to."""
    retention_ticks_days: Positive = 7.0
    """Days after which it is forgotten what schedules and sensors came to each time, and looks at sensors."""
    retention_archive: str = ""
    """A folder or a bucket (``s3://…``) where runs are kept as compressed JSON when they are forgotten; or nothing."""
    display: Literal["auto", "live", "plain", "none"] = "auto"
    """What a run shows: a live display, plain lines, nothing; by itself live on a terminal."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The lowest level of log lines that is kept and shown."""

    @property
    def home_path(self) -> Path:
        """The home as a path."""
        return Path(self.home).expanduser().absolute()

    @property
    def database_url(self) -> str:
        """The database's URL, the default filled in."""
        return self.database or f"sqlite:///{self.home_path / 'ostinato.db'}"

    @property
    def store_url(self) -> str:
        """Where runs are kept: the server if one is named, else the database."""
        return ",".join(urls_of(self.api)) or self.database_url

    @property
    def results_url(self) -> str:
        """The result store's URL, the default filled in: the server's own, if one is named."""
        if self.results:
            return self.results
        return ",".join(f"{url}/api/blobs" for url in urls_of(self.api)) or str(self.home_path / "results")


def urls_of(api: str) -> list[str]:
    """Take the servers that ``OSTINATO_API`` names apart."""
    return [url.strip().rstrip("/") for url in api.split(",") if url.strip()]


def load_settings(environment: Mapping[str, str] | None = None, folder: Path | None = None) -> Settings:
    """Read the settings.

    Args:
        environment: Instead of the process's own.
        folder: Where to look for ``pyproject.toml``, then in the folders above; by default the current one.

    Raises:
        SettingError: For an unknown name or a value that does not fit.
    """
    return read_settings(environment, folder)[0]


def read_settings(
    environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> tuple[Settings, dict[str, str]]:
    """Read the settings, and where each came from: by name, ``default``, a file or a variable."""
    values: dict[str, Any] = {}
    origins = dict.fromkeys(Settings.__struct_fields__, "default")
    for found in (_from_project(folder or Path.cwd()), _from_environment(environment)):
        for name, (value, origin) in found.items():
            if name not in origins:
                hint = nearest(name, [*origins, _PROJECT])
                message = f"{origin} is no setting of Ostinato.{hint} See `ostinato config show`."
                raise SettingError(message)
            values[name], origins[name] = value, origin
    settings = Settings()
    for name, value in values.items():
        settings = _set(settings, name, value, origins[name])
    return settings, origins


def _set(settings: Settings, name: str, value: Any, origin: str) -> Settings:
    try:
        checked = msgspec.convert({name: value}, Settings, strict=not isinstance(value, str))
    except msgspec.ValidationError as error:
        reason = str(error).split(" - at ")[0]
        message = f"{origin} = {value!r} does not fit: {reason[:1].lower() + reason[1:]}."
        raise SettingError(message) from None
    return msgspec.structs.replace(settings, **{name: getattr(checked, name)})


def _from_environment(environment: Mapping[str, str] | None) -> dict[str, tuple[Any, str]]:
    variables = os.environ if environment is None else environment
    return {
        name.removeprefix("OSTINATO_").lower(): (value, name)
        for name, value in variables.items()
        if name.startswith("OSTINATO_") and not name.startswith(_OTHERS)
    }


def _from_project(folder: Path) -> dict[str, tuple[Any, str]]:
    for place in (folder, *folder.parents):
        path = place / "pyproject.toml"
        if path.is_file():
            return _read_project(path, path.stat().st_mtime_ns)
    return {}


@functools.lru_cache(maxsize=8)
def _read_project(path: Path, changed: int) -> dict[str, tuple[Any, str]]:  # noqa: ARG001  # tells old from new
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}).get("ostinato", {})
    except (OSError, tomllib.TOMLDecodeError) as error:
        message = f"{path} cannot be read as TOML: {error}."
        raise SettingError(message) from None
    return {
        name.replace("-", "_"): (value, f"[tool.ostinato] {name} in {path}")
        for name, value in table.items()
        if name != _PROJECT
    }
