"""The real command line, in processes of its own, with a home of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SHOP = """
import os, signal
from pathlib import Path
from ostinato import Retry, current, flow, task
from pydantic import BaseModel
import pricing

LEDGER = Path(os.environ["LEDGER"])

def note(text):
    with LEDGER.open("a") as file:
        file.write(text + "\\n")

class Order(BaseModel):
    id: int
    lines: list[float]

@task
def load(n: int) -> list[Order]:
    note("load")
    return [Order(id=i, lines=[float(i)] * 3) for i in range(n)]

@task
def price(order: Order, rate: float = 1.0) -> float:
    note(f"price {order.id}")
    print("pricing", order.id)
    if str(order.id) == os.environ.get("BAD"):
        raise ValueError(f"order {order.id} cannot be priced: {pricing.why()}")
    return sum(order.lines) * rate

@task
def total(prices: list[float]) -> float:
    note("total")
    current.logger.warning("adding up")
    return sum(prices) + float(os.environ.get("EXTRA", "0"))

@task
def sign(amount: float) -> str:
    note("sign")
    if os.environ.get("DIE"):
        os.kill(os.getpid(), signal.SIGKILL)
    return f"{amount:.1f}"

@task
def report(text: str, title: str) -> str:
    note("report")
    return f"{title}: {text}"

@flow(tags=["shop"])
def shop(n: int = 3, title: str = "Sum") -> str:
    orders = load(n)
    prices = price.map(orders)
    return report(sign(total(prices)), title)
"""


@dataclass(frozen=True)
class Said:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Its standard output, as JSON."""
        return json.loads(self.out)


class Shell:
    """A folder with flow files, and the command line in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = folder / "ledger"
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("OSTINATO_")} | {
            "OSTINATO_HOME": str(folder / "home"),
            "OSTINATO_DURABILITY": "crash-safe",
            "LEDGER": str(self.ledger),
            "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
        }

    def write(self, name: str, text: str) -> Path:
        """Write a file."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip())
        return path

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "ostinato", *arguments]

    def __call__(self, *arguments: str, typed: str = "", **environment: str) -> Said:
        """Run a command to its end."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment | environment,
            input=typed,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start a command and leave it running."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **environment: str) -> dict[str, Any]:
        """Run a flow and return what `--json` says."""
        said = self("run", *arguments, "--json", "--quiet", **environment)
        found: dict[str, Any] = said.data
        return found

    def done(self) -> list[str]:
        """Take what the tasks have noted since the last time."""
        lines = sorted(self.ledger.read_text().split("\n")[:-1]) if self.ledger.exists() else []
        self.ledger.unlink(missing_ok=True)
        return lines


@pytest.fixture
def cli(tmp_path: Path) -> Shell:
    """The command line, in a folder with a shop."""
    shell = Shell(tmp_path)
    shell.write("shop.py", SHOP)
    shell.write("pricing.py", "def why(): return 'no price list'\n")
    return shell
