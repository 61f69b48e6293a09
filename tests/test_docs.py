"""The documentation says what the code does."""

from __future__ import annotations

from pathlib import Path

from ostinato.states import REOPENINGS, TRANSITIONS, State

ROOT = Path(__file__).parent.parent


def test_table_of_states_is_the_one_in_the_code() -> None:
    rows = [
        f"| {state} | {', '.join(s for s in State if s in TRANSITIONS[state]) or 'nothing'} | "
        f"{', '.join(s for s in State if s in REOPENINGS[state]) or 'nothing'} |"
        for state in State
    ]
    assert "\n".join(rows) in (ROOT / "docs/states.md").read_text(encoding="utf-8")


def test_first_code_of_the_readme_compiles_and_defines_what_it_shows() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    example = readme.split("```python\n")[1].split("```")[0]
    names: dict[str, object] = {"__name__": "weather"}
    exec(compile(example, "weather.py", "exec"), names)  # it is ours
    assert {"fetch", "combine", "weather"} <= set(names)
