"""``ostinato deploy``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter
from rich.text import Text

from ostinato.cli.deployments import shape
from ostinato.cli.options import AsJson, store
from ostinato.cli.screen import show, show_json, table
from ostinato.io.results import ResultStore
from ostinato.runtime.auditing import audit
from ostinato.runtime.deploying import deploy as deploy_project
from ostinato.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ostinato.runtime.deploying import Report

Path = Annotated[
    str | None, Parameter(name="PATH", help="The project's folder, or a file; by default the nearest project.")
]
Bundle = Annotated[
    bool | None,
    Parameter(
        name="--bundle", help="Store the source too, for workers on other machines; by default where a server is named."
    ),
]


def deploy(path: Path = None, /, *, bundle: Bundle = None, json: AsJson = False) -> int:
    """Store what a project's flows are, so that they can be started from outside.

    A module that cannot be imported is shown with its traceback; what was deployed from it before stays.
    """
    settings = load_settings()
    with store() as opened:
        bundled = bool(settings.api) if bundle is None else bundle
        report = deploy_project(opened, ResultStore(settings.results_url, token=settings.token), path, bundle=bundled)
        if report.stored:
            changes = {"added": report.added, "changed": report.changed, "removed": report.removed}
            audit(opened, None, "project_deployed", report.project.name, more=changes)
    if json:
        whole = msgspec.structs.asdict(report)
        show_json({**whole, "deployed": [shape(deployed) for deployed in report.deployed]})
    else:
        _tell(report)
    return 1 if report.errors else 0


def _tell(report: Report) -> None:
    if report.deployed:
        made = table("deployment", "pool", "", "target", whole=("deployment",))
        for deployed in report.deployed:
            mark = "broken" if deployed.name in report.broken else "new" if deployed.name in report.added else ""
            mark = mark or ("changed" if deployed.name in report.changed else "")
            made.add_row(
                deployed.name, deployed.pool, Text(mark, "yellow"), _short(deployed.target, report.project.root)
            )
        show(made)
    else:
        print(f"No flow was found in {report.project.root}, in {len(report.files)} files that mention ostinato.")
    for line in problems(report):
        print(line, file=sys.stderr)
    if report.removed:
        print(f"Removed: {', '.join(report.removed)}.")
    if report.left_out:
        print(f"Left out of the bundle, since they look like secrets: {', '.join(report.left_out)}.")
    source = f", source {report.project.bundle[:12]}" if report.project.bundle else ""
    state = "is deployed" if report.stored else "is deployed already, as it is"
    print(f"Project {report.project.name} {state}{source}.")
    if report.deployed:
        print(f"Start one: ostinato start {report.deployed[0].name}")


def problems(report: Report, known: Mapping[str, str] | None = None) -> Iterator[str]:
    """Say which modules cannot be imported, and why.

    Args:
        report: What was found.
        known: What was said before, by file: it is not said again.
    """
    news = {file: error for file, error in report.errors.items() if error != (known or {}).get(file)}
    for file, error in news.items():
        head, *below = error.rstrip().splitlines()
        is_import = bool(below) and " cannot be imported, " in head
        yield f"✗ {_short(file, report.project.root)}{' cannot be imported' if is_import else ''}:"
        # what the head of such an error says are these words, and the end of the traceback
        lines = below if is_import else [head, *below]
        yield "\n".join(f"    {line}" for line in lines)
    if news and report.broken:
        yield f"  What was deployed before stays: {', '.join(report.broken)}."


def _short(path: str, root: str) -> str:
    return os.path.relpath(path, root) if path.startswith(f"{root}{os.sep}") else path
