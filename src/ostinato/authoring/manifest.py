"""What a project holds, as data, and how a newer look at it is merged with what is stored.

A scan makes a `Manifest`; `merge` keeps the last good definitions of modules that cannot be imported any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ostinato.work import Deployed

if TYPE_CHECKING:
    from collections.abc import Sequence


class Manifest(msgspec.Struct, kw_only=True):
    """A project as its modules say it is."""

    name: str
    root: str
    deployed: list[Deployed] = []
    """Its flows and deployments, by name; targets are absolute."""
    errors: dict[str, str] = {}
    """What is wrong in a file, by its path below the root: a traceback, as a rule."""
    files: list[str] = []
    """The files that were looked at, below the root."""
    pools: list[str] = []
    """The work pools that its tasks name."""
    python: str = ""


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be stored, and what has changed by it."""

    deployed: list[Deployed]
    added: list[str] = []
    changed: list[str] = []
    removed: list[str] = []
    broken: list[str] = []
    """Those whose last good definition is kept, because their file cannot be imported."""

    @property
    def is_new(self) -> bool:
        """Whether anything differs from what is stored."""
        return bool(self.added or self.changed or self.removed)


def merge(stored: Sequence[Deployed], found: Sequence[Deployed], errors: dict[str, str]) -> Merged:
    """Decide what a project's deployments are now.

    A definition that was found replaces the stored one. One that was not is kept, with `broken` set, if its file is
    among those in error; else it is really gone.

    Args:
        stored: As the store has them.
        found: As the scan found them.
        errors: What is wrong, by file.
    """
    before = {item.name: item for item in stored}
    now = {item.name: item for item in found}
    kept = {
        name: msgspec.structs.replace(item, broken=errors[file])
        for name, item in before.items()
        if name not in now and (file := file_of(item)) in errors
    }
    everything = now | kept
    return Merged(
        deployed=[everything[name] for name in sorted(everything)],
        added=sorted(set(now) - set(before)),
        changed=sorted(name for name, item in everything.items() if name in before and _differs(before[name], item)),
        removed=sorted(set(before) - set(everything)),
        broken=sorted(kept),
    )


def file_of(item: Deployed) -> str:
    """Return the file that a deployment is defined in, by its path below the root."""
    options: dict[str, Any] = msgspec.json.decode(item.options)
    return str(options.get("file", ""))


def _differs(one: Deployed, other: Deployed) -> bool:
    """Compare all that a project says; the store's own fields are left out."""
    return one != msgspec.structs.replace(other, paused=one.paused, updated_at=one.updated_at)
