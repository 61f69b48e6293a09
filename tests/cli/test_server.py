"""`ostinato server` from the outside."""

from __future__ import annotations

import re
import signal
import subprocess

import pytest


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--host", "0.0.0.0"], r"Server on http://0\.0\.0\.0:(\d+) \(here: http://127\.0\.0\.1:\1\), database"),
        ([], r"Server on http://127\.0\.0\.1:\d+, database"),
    ],
)
def test_a_server_says_where_it_listens_and_how_it_is_reached_from_here(cli, arguments, told):
    cli("users", "create", "ada", "--role", "admin")
    process = subprocess.Popen(
        cli.command("server", "--port", "0", *arguments),
        cwd=cli.folder, env=cli.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert re.match(told, process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert "ended in order" in process.communicate(timeout=30)[0]
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()
