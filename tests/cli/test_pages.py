"""What the pages of the documentation tell people to type can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from ostinato.cli.app import EXAMPLES, make_app

PAGE = Path(__file__).parents[2] / "docs" / "server.md"
LINES = [
    line.removeprefix("ostinato ")
    for block in re.findall(r"```\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    for line in block.splitlines()
    if line.startswith("ostinato ")
]


@pytest.mark.parametrize("line", [*LINES, *EXAMPLES.values()])
def test_a_command_that_is_shown_can_be_typed(line):
    typed, _, _file = line.partition(" > ")
    make_app().parse_args(shlex.split(typed), exit_on_error=False, print_error=False)
