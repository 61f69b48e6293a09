"""What a project holds, as data, and how a newer look at it is merged with what is stored.

A scan makes a `Manifest`; `merge` keeps the last good definitions of modules that cannot be imported any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ostinato.timing import AutomationRow, Schedule, Timing
from ostinato.work import Deployed

if TYPE_CHECKING:
    from collections.abc import Sequence


class Manifest(msgspec.Struct, kw_only=True):
    """A project as its modules say it is."""

    name: str
    root: str
    deployed: list[Deployed] = []
    """Its flows and deployments, by name; targets are absolute."""
    schedules: list[Schedule] = []
    """What is to start them, by name, sensors among them."""
    automations: list[AutomationRow] = []
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


def merge_timing(stored: Timing, found: Timing, merged: Merged, errors: dict[str, str]) -> Timing:
    """Decide what a project's schedules and automations are now.

    Those of a deployment of which none was found are kept if its file is among those in error. An automation is of no
    file: it is kept as long as any is in error.

    Args:
        stored: As the store has them.
        found: As the scan found them.
        merged: The deployments, as they are now.
        errors: What is wrong, by file.
    """
    files = {item.name: file_of(item) for item in merged.deployed}
    now = {item.name: item for item in found.schedules if item.deployment in files}
    said = {item.deployment for item in found.schedules}
    kept = {s.name: s for s in stored.schedules if s.deployment not in said and files.get(s.deployment) in errors}
    schedules = kept | now
    automations = {item.name: item for item in stored.automations} if errors else {}
    automations |= {item.name: item for item in found.automations}
    return Timing(
        schedules=[schedules[name] for name in sorted(schedules)],
        automations=[automations[name] for name in sorted(automations)],
    )


def same_timing(one: Timing, other: Timing) -> bool:
    """Compare all that a project says; what the store remembers beside it is left out."""
    return _declared(one) == _declared(other)


def _declared(timing: Timing) -> tuple[object, ...]:
    schedules = {s.name: (s.deployment, s.kind, s.spec, s.parameters, s.tags) for s in timing.schedules}
    return schedules, {a.name: (a.spec, a.description) for a in timing.automations}


def file_of(item: Deployed) -> str:
    """Return the file that a deployment is defined in, by its path below the root."""
    options: dict[str, Any] = msgspec.json.decode(item.options)
    return str(options.get("file", ""))


def _differs(one: Deployed, other: Deployed) -> bool:
    """Compare all that a project says; the store's own fields are left out."""
    return one != msgspec.structs.replace(other, paused=one.paused, updated_at=one.updated_at)
