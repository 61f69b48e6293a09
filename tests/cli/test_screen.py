"""Tables on terminals that are narrow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ostinato.cli.screen import show, table

if TYPE_CHECKING:
    import pytest

RUN = "0198a1b2c3d4e5f60198a1b2c3d4e5f6"


def shown(capsys: pytest.CaptureFixture[str], *rows: tuple[str, ...]) -> str:
    made = table("run", "flow", "state", whole=("run",))
    for row in rows:
        made.add_row(*row)
    show(made)
    return capsys.readouterr().out


def test_a_table_without_room_is_set_row_below_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "45")
    out = shown(capsys, (RUN, "weather", "queued"), (RUN, "tides", ""))
    assert out == f"RUN    {RUN}\nFLOW   weather\nSTATE  queued\n\nRUN    {RUN}\nFLOW   tides\n"


def test_a_table_that_fits_a_narrow_terminal_stays_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "45")
    assert shown(capsys, ("1", "weather", "queued")) == "RUN  FLOW     STATE\n1    weather  queued\n"


def test_on_a_wider_terminal_cells_are_broken_and_columns_stay(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    out = shown(capsys, (RUN, "weather" * 5, "queued"))
    assert out.splitlines()[0].split() == ["RUN", "FLOW", "STATE"]
