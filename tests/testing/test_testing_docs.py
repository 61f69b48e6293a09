"""The pages about testing and simulation show what works: their code is run, their tests are called."""

from __future__ import annotations

import linecache
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent.parent / "docs"


def blocks(page: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return [part.split("```")[0] for part in text.split("```python\n")[1:]]


@pytest.mark.parametrize(("page", "tests"), [("testing.md", 6), ("simulation.md", 0)])
def test_the_code_of_a_page_works(page: str, tests: int) -> None:
    code = "\n".join(blocks(page))
    linecache.cache[page] = (len(code), None, code.splitlines(keepends=True), page)
    names: dict[str, object] = {"__name__": "page"}
    exec(compile(code, page, "exec"), names)  # it is ours
    found = [value for name, value in names.items() if name.startswith("test_") and callable(value)]
    for test in found:
        test()
    assert len(found) == tests
