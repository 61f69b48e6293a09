"""The figures as a table, for the terminal and for the README."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from bench.figure import quantity

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.figure import Figure

BEGIN = "<!-- figures: made by `python bench/run.py --markdown` -->"
END = "<!-- /figures -->"
_HEAD = ("figure", "durability", "median", "spread", "floor", "times the floor", "target", "")


def cells(figure: Figure) -> tuple[str, ...]:
    """Return one figure's cells."""
    spread = ""
    if len(figure.values) > 1:
        spread = f"{quantity(min(figure.values), '')} to {quantity(max(figure.values), '')}"
    floor = ""
    if figure.floor:
        middle = statistics.median(figure.floor)
        floor = f"{quantity(middle, figure.unit)} ({figure.floor_name})"
    return (
        figure.name,
        figure.durability,
        quantity(figure.median, figure.unit),
        spread,
        floor,
        "" if figure.ratio is None else f"{figure.ratio:.2f}",
        "" if figure.target is None else figure.target.text(figure.unit),
        figure.verdict,
    )


def line(figure: Figure) -> str:
    """Return one figure as a line for the terminal."""
    name, durability, median, spread, floor, ratio, target, verdict = cells(figure)
    text = f"{name + (f', {durability}' if durability else ''):<76} {median:>12}  {f'({spread})' if spread else '':<24}"
    if floor:
        text += f" {ratio} times {floor}"
    return text + (f"  target {target}: {verdict.upper() if verdict == 'missed' else verdict}" if target else "")


def markdown(title: str, note: str, figures: Sequence[Figure]) -> str:
    """Return one chapter's figures as a Markdown table."""
    rows = [_HEAD, ("---",) * len(_HEAD), *map(cells, figures)]
    return f"### {title}\n\n{note}\n\n" + "\n".join("| " + " | ".join(row) + " |" for row in rows)


def rewrite(path: Path, head: str, chapters: Sequence[str]) -> None:
    """Replace the block between the markers in a file; chapters that were not measured again stay as they are.

    Raises:
        ValueError: If the file has no such block.
    """
    whole = path.read_text(encoding="utf-8")
    before, begin, rest = whole.partition(BEGIN)
    old, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no block between {BEGIN} and {END}: put the two lines where the figures go.")
    kept = {part.splitlines()[0]: f"### {part.strip()}" for part in old.split("### ")[1:]}
    kept |= {chapter.removeprefix("### ").splitlines()[0]: chapter for chapter in chapters}
    text = "\n\n".join([head, *(kept[title] for title in sorted(kept))])
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
