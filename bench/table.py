"""The figures as a table, for the terminal and for the README."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.figure import quantity

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.figure import Figure

BEGIN = "<!-- figures: made by `python bench/run.py --markdown` -->"
END = "<!-- /figures -->"
_HEAD = ("figure", "durability", "median", "min to max", "floor", "times the floor", "target", "")


def cells(figure: Figure) -> tuple[str, ...]:
    """Return one figure's cells."""
    spread = ""
    if len(figure.values) > 1:
        spread = f"{quantity(min(figure.values), '')} to {quantity(max(figure.values), '')}"
    floor = ""
    if figure.floor:
        middle = sorted(figure.floor)[len(figure.floor) // 2]
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


def markdown(chapters: Sequence[tuple[str, Sequence[Figure]]]) -> str:
    """Return the figures as Markdown tables, a chapter each."""
    parts = []
    for title, figures in chapters:
        rows = [_HEAD, ("---",) * len(_HEAD), *map(cells, figures)]
        parts.append(f"### {title}\n\n" + "\n".join("| " + " | ".join(row) + " |" for row in rows))
    return "\n\n".join(parts)


def rewrite(path: Path, text: str) -> None:
    """Replace the block between the markers in a file.

    Raises:
        ValueError: If the file has no such block.
    """
    whole = path.read_text(encoding="utf-8")
    before, begin, rest = whole.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no block between {BEGIN} and {END}: put the two lines where the figures go.")
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
