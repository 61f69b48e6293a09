"""`deploy`: look at a project, keep its last good definitions, and store what it holds now.

```
folder ─► scan, in a process of its own ─► merge with what is stored ─► put_project, unless nothing is new
                                              └► bundle: the source as a blob; targets are then relative to it
```
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import msgspec

from ostinato.authoring.manifest import Manifest, Merged, file_of, merge, merge_timing, same_timing
from ostinato.authoring.project import find_project
from ostinato.authoring.scan import LIMIT, Scanner
from ostinato.runtime.bundling import Bundle, pack
from ostinato.runtime.process import this_host
from ostinato.runtime.session import version
from ostinato.timing import Schedule, ScheduleFilter, Timing
from ostinato.work import Deployed, Project

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ostinato.io.results import ResultStore
    from ostinato.store.store import Store


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a deploy found and did. All lists but `deployed` are of names, or of files below the root."""

    project: Project
    deployed: list[Deployed]
    added: list[str]
    changed: list[str]
    removed: list[str]
    broken: list[str]
    """Those whose last good definition was kept, because their file cannot be imported."""
    errors: dict[str, str]
    """What is wrong, by file."""
    files: list[str]
    """The modules that were looked at."""
    pools: list[str]
    """The work pools that tasks name."""
    left_out: list[str]
    """Files that look like secrets and are not in the bundle."""
    stored: bool
    """False where nothing was new, so that nothing was written."""


def deploy(
    store: Store,
    results: ResultStore,
    root: str | Path | None,
    *,
    bundle: bool,
    scanner: Scanner | None = None,
    limit: float = LIMIT,
) -> Report:
    """Store what a project holds now.

    Args:
        store: Where to.
        results: Where the bundle goes.
        root: The project's folder, a single file, or None to look from the current folder upwards.
        bundle: Whether to store the source too, for workers that do not have the folder.
        scanner: One that has a process ready ahead; by default a new one.
        limit: Seconds that importing one file may take.

    Raises:
        TargetError: If there is no such folder.
        SettingError: If ``[tool.ostinato.project]`` does not fit.
        UsageError: If the project cannot be looked at or packed, or another project has flows of the same names.
    """
    folder = find_project(root)
    with contextlib.closing(Scanner()) as own:
        manifest = (scanner or own).scan(folder, limit=limit)
    packed = pack(folder) if bundle else None
    digest = None if packed is None else results.put(packed.data)
    found = manifest.deployed if packed is None else _relative(manifest, packed, digest)
    before = store.list_deployed(project=folder.name)
    merged = merge(before, found, manifest.errors)
    project = Project(
        name=folder.name,
        root=folder.root,
        host=this_host(),
        bundle=digest,
        errors=msgspec.json.encode(manifest.errors).decode(),
        python=manifest.python,
        version=version(),
        updated_at=(now := store.now()),
    )
    known = _timing(store, folder.name)
    declared = Timing(schedules=manifest.schedules, automations=manifest.automations)
    timing = merge_timing(known, declared, merged, manifest.errors)
    new = merged.is_new or not same_timing(known, timing) or not _is_stored(store, project)
    return Report(
        project=project,
        deployed=store.put_project(project, _stamped(merged, before, now), timing) if new else before,
        added=merged.added,
        changed=merged.changed,
        removed=merged.removed,
        broken=merged.broken,
        errors=manifest.errors,
        files=manifest.files,
        pools=manifest.pools,
        left_out=[] if packed is None else packed.left_out,
        stored=new,
    )


def _timing(store: Store, project: str) -> Timing:
    """Read what is stored of a project's schedules and automations."""
    schedules: list[Schedule] = []
    while page := store.list_schedules(ScheduleFilter(project=project, after=schedules[-1].name if schedules else "")):
        schedules += page
    automations = [item for item in store.list_automations() if item.project == project]
    return Timing(schedules=schedules, automations=automations)


def _stamped(merged: Merged, before: Sequence[Deployed], now: int) -> list[Deployed]:
    """Note when each deployment became what it is."""
    since = {item.name: item.updated_at for item in before if item.name not in merged.changed}
    return [msgspec.structs.replace(item, updated_at=since.get(item.name, now)) for item in merged.deployed]


def _relative(manifest: Manifest, packed: Bundle, digest: str | None) -> list[Deployed]:
    """Make targets relative to the bundle's root; refuse those that it does not hold."""
    found, packed_files = [], set(packed.files)
    for item in manifest.deployed:
        path, _, attribute = item.target.rpartition(":")
        place = os.path.relpath(path, manifest.root).replace(os.sep, "/")
        if place in packed_files:
            found.append(msgspec.structs.replace(item, target=f"{place}:{attribute}", bundle=digest))
        else:
            manifest.errors[file_of(item)] = (
                f"{item.name} cannot be deployed with a bundle: {place} is left out of it, being ignored by git, "
                "excluded, or like a secret by its name."
            )
    return found


def _is_stored(store: Store, project: Project) -> bool:
    same = {item.name: msgspec.structs.replace(item, updated_at=project.updated_at) for item in store.list_projects()}
    return same.get(project.name) == project
