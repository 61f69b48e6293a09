"""The schema and its migrations as SQL, written into files that are shipped. For development: needs Alembic.

``python -m ostinato.store.migrate`` writes `schema.<dialect>.sql` from the metadata in `schema.py`, and for each
revision `migrations/<revision>.<dialect>.sql` from its operations.
What runs at a user's needs neither SQLAlchemy nor Alembic.
"""

from __future__ import annotations

import importlib
import io
from pathlib import Path
from typing import Any, Final

from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from ostinato.store import migrations, revisions
from ostinato.store.schema import PARTITIONS, metadata

HERE: Final = Path(__file__).parent
DIALECTS: Final[dict[str, Any]] = {"sqlite": sqlite.dialect, "postgres": postgresql.dialect}
_DO_NOT_EDIT: Final = "by `python -m ostinato.store.migrate`: do not edit."
_VERSION_TABLE: Final = (
    "CREATE TABLE alembic_version (\n\tversion_num VARCHAR(32) NOT NULL, \n"
    "\tCONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)\n);\n"
)


def render(name: str) -> str:
    """Write the whole schema as SQL for a dialect, stamped with the head revision."""
    dialect = DIALECTS[name]()
    lines = [f"-- Made from schema.py {_DO_NOT_EDIT}", ""]
    for table in metadata.tables.values():
        lines.append(_sql(CreateTable(table), dialect))
        lines += [_sql(CreateIndex(index), dialect) for index in sorted(table.indexes, key=lambda i: str(i.name))]
    if name == "postgres":
        lines.append(PARTITIONS)
    history = revisions.HISTORY
    lines.append(_VERSION_TABLE)
    lines.append(f"INSERT INTO alembic_version (version_num) VALUES ('{history.head}');")  # noqa: S608
    lines.append(f"INSERT INTO fits_from (revision) VALUES ('{history.fits_from(history.head)}');")  # noqa: S608
    if name == "sqlite":
        lines.append(f"PRAGMA application_id = {revisions.APPLICATION_ID};")
    return "\n".join(lines) + "\n"


def render_revision(revision: str, name: str) -> str:
    """Write one revision as SQL for a dialect: what it does, then its number."""
    (path,) = (HERE / "migrations" / "versions").glob(f"{revision}_*.py")
    module = importlib.import_module(f"{migrations.__name__}.versions.{path.stem}")
    text = io.StringIO()
    context = MigrationContext.configure(dialect_name=DIALECTS[name].name, opts={"as_sql": True, "output_buffer": text})
    with Operations.context(context):
        module.upgrade()
    lines = [f"-- Made from versions/{path.name} {_DO_NOT_EDIT}", "", text.getvalue().strip(), ""]
    if module.down_revision is None:
        lines += [_VERSION_TABLE, f"INSERT INTO alembic_version (version_num) VALUES ('{revision}');"]  # noqa: S608
    else:
        lines.append(f"UPDATE alembic_version SET version_num = '{revision}';")  # noqa: S608
    return "\n".join(line.rstrip() for line in "\n".join(lines).splitlines()) + "\n"


def write_sql() -> list[Path]:
    """Write all renderings and return where."""
    paths = []
    for name in DIALECTS:
        written = {HERE / f"schema.{name}.sql": render(name)}
        for revision in revisions.HISTORY.revisions:
            written[HERE / "migrations" / f"{revision}.{name}.sql"] = render_revision(revision, name)
        for path, text in written.items():
            path.write_text(text, encoding="utf-8")
            paths.append(path)
    return paths


def _sql(element: Any, dialect: Any) -> str:
    text = str(element.compile(dialect=dialect)).strip()
    return "\n".join(line.rstrip() for line in text.splitlines()) + ";\n"
