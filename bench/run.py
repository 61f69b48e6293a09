"""The benchmark suite: every figure beside its floor, measured in the same run.

``python bench/run.py [NAME ...] [--quick] [--json FILE] [--markdown]``; without names all of it, in ten minutes or
less. What the figures mean is in README.md.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)  # not bench/ itself: its modules must not hide others of the same name

from bench import machine, table  # noqa: E402  after the path is set
from bench.ground import Ground, ground  # noqa: E402

if TYPE_CHECKING:
    from bench.figure import Figure

NAMES = (
    *("chain", "fanout", "fibonacci", "million", "resume", "startup", "installed", "crowd"),
    *("served", "schedules", "limits", "idle", "claims", "peers"),
)
README = ROOT / "bench" / "README.md"


def main() -> int:
    """Measure, print, and write down what is asked for."""
    options = _options()
    chapters: list[Chapter] = []
    failed = False
    begun = time.monotonic()
    with ground(options.folder, quick=options.quick) as place:
        facts = machine.describe(place.folder, _postgres_version(place))
        print("\n".join(facts), flush=True)
        for name in options.names or NAMES:
            try:
                chapters.append(_chapter(name, place))
            except Exception as error:  # one broken chapter must not cost the others
                failed = True
                print(f"{name} failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    facts.append(f"{', '.join(options.names) or 'the suite'} took {(time.monotonic() - begun) / 60:.1f} minutes")
    print(f"\n{facts[-1]}")
    if options.json:
        plain = {"facts": facts, "chapters": [chapter.plain() for chapter in chapters]}
        options.json.write_text(json.dumps(plain, indent=1, ensure_ascii=False), encoding="utf-8")
    if options.markdown:
        measured = [table.markdown(each.title, each.note, each.figures) for each in chapters if each.figures]
        table.rewrite(README, "\n".join(f"- {fact}" for fact in facts), measured)
    return 1 if failed else 0


@dataclass(frozen=True)
class Chapter:
    """What one module measured, and when."""

    title: str
    note: str
    figures: list[Figure]

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"title": self.title, "note": self.note, "figures": [figure.plain() for figure in self.figures]}


def _chapter(name: str, place: Ground) -> Chapter:
    module = importlib.import_module(f"bench.{name}")
    title: str = module.TITLE
    print(f"\n{title}", flush=True)
    begun = time.monotonic()
    load = os.getloadavg()[0]
    figures: list[Figure] = module.measure(place)
    for figure in figures:
        print("  " + table.line(figure))
    note = f"{dt.datetime.now(dt.UTC):%Y-%m-%d}, {time.monotonic() - begun:.0f} s, load {load:.1f} at the start"
    note += ", quick: fewer rounds and smaller sizes" if place.quick else ""
    print(f"  [{note}]", flush=True)
    return Chapter(title, note, figures)


def _postgres_version(place: Ground) -> str | None:
    if place.server is None:
        return None
    import psycopg

    with psycopg.connect(place.server.url()) as connection:
        return f"{connection.info.server_version // 10000}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"what to measure: {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller sizes: to see that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all values there")
    parser.add_argument("--markdown", action="store_true", help="rewrite the tables in bench/README.md")
    parser.add_argument("--folder", type=Path, help="a folder on the disk to measure; by default the temporary one")
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
