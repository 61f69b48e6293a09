"""``ostinato config show``."""

from __future__ import annotations

from typing import Any

import msgspec

from ostinato.cli.options import AsJson  # noqa: TC001  # cyclopts reads annotations when it runs
from ostinato.cli.screen import show as show_on
from ostinato.cli.screen import show_json, table
from ostinato.io.blobs import safe_url
from ostinato.settings import read_settings


def show(*, json: AsJson = False) -> None:
    """Show every setting, its value and where that comes from; passwords are left out."""
    settings, origins = read_settings()
    values: dict[str, Any] = msgspec.structs.asdict(settings)
    values["home"] = str(settings.home_path)
    values["database"], values["results"] = safe_url(settings.database_url), safe_url(settings.results_url)
    if json:
        show_json({name: {"value": value, "origin": origins[name]} for name, value in values.items()})
        return
    made = table("setting", "value", "from", whole=("setting",))
    for name, value in values.items():
        made.add_row(name, str(value), "" if origins[name] == "default" else origins[name])
    show_on(made)
    print("\nSet one by OSTINATO_NAME in the environment, or under [tool.ostinato] in pyproject.toml.")
