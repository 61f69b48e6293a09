"""The revisions of the schema, oldest first, and what a database's revision means to this version.

A revision either *expands* (columns and tables are added; it is applied before the new version is deployed, and the
version before goes on working beside it) or *contracts* (what nothing uses any more goes; it is applied when the last
process of the version before has ended). A database therefore keeps, in `fits_from`, the oldest revision whose code it
still fits, and code accepts a database that is newer than itself if that is not above its own.

```
code of 0003:   database at 0002 ✗ upgrade    0003 ✓    0004 expanded ✓    0005 contracted, fits from 0004 ✗
```
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ostinato.errors import SchemaError

APPLICATION_ID: Final = 0x4F737469
"""``Osti``, in the header of our SQLite files."""


@dataclass(frozen=True, slots=True)
class History:
    """Some revisions, in order, and where their SQL is: ``<revision>.<dialect>.sql``."""

    folder: Path
    revisions: tuple[str, ...]
    contracting: frozenset[str] = frozenset()

    @property
    def head(self) -> str:
        """The last revision."""
        return self.revisions[-1]

    @property
    def needed(self) -> str:
        """The last revision that expands: what the code of this history cannot do without."""
        return self.fits_from(self.head, every=True)

    def fits_from(self, revision: str, *, every: bool = False) -> str:
        """Tell the oldest revision whose code fits a database at `revision`.

        That is the last expanding one before the last contracting one, the first where none contracts; with
        `every`, the last expanding one up to `revision` whatever follows.
        """
        upto = self.revisions[: self.revisions.index(revision) + 1]
        if not every:
            contracted = [index for index, name in enumerate(upto) if name in self.contracting]
            upto = upto[: contracted[-1]] if contracted else upto[:1]
        return next(name for name in reversed(upto) if name not in self.contracting)

    def sql(self, revision: str, dialect: str) -> str:
        """Read the SQL of a revision."""
        return (self.folder / f"{revision}.{dialect}.sql").read_text(encoding="utf-8")

    def check(self, revision: str | None, location: str, fits_from: str | None = None) -> None:
        """Refuse a database whose schema is not one that this version speaks.

        Args:
            revision: What `alembic_version` holds.
            location: Where the database is, for the message.
            fits_from: What the database says of itself, where it is newer than this version.

        Raises:
            SchemaError: If it is older, or newer in a way that does not fit.
        """
        if revision in self.revisions[self.revisions.index(self.needed) :]:
            return
        if revision is None or revision in self.revisions:
            raise SchemaError(
                f"The database {location} has schema revision {revision or 'none'}, this version of Ostinato "
                f"needs {self.needed}. Run `ostinato db upgrade`."
            )
        if fits_from is not None and fits_from in self.revisions:
            return
        raise SchemaError(
            f"The database {location} was written by a newer Ostinato (schema revision {revision}, this version "
            f"knows up to {self.head}). Upgrade this installation."
        )


HISTORY: Final = History(Path(__file__).with_name("migrations"), ("0001", "0002", "0003", "0004"))
HEAD: Final = HISTORY.head
