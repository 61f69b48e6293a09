"""kill -9 at random moments of a flow of a hundred task runs: nothing finished is done again, nothing is missing."""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path

import pytest
from tests.inside import Home
from tests.process import Ledger, Script, environment, run_script, until

from ostinato.states import State

FLOW = Path(__file__).with_name("hundred.py")


class Interrupted:
    """One home in which the flow is killed and gone on with."""

    def __init__(self, path: Path, kind: str) -> None:
        self.home, self.kind = Home(path / "home"), kind
        self.ledger = Ledger(path / "ledger")
        self.env = environment(self.home.path, LEDGER=str(self.ledger.path), OSTINATO_DISPLAY="none")

    def run(self) -> str:
        script = run_script(FLOW, self.kind, env=self.env)
        assert script.process.returncode == 0, script.err
        return script.out.splitlines()[-1]

    def kill_after(self, effects: int, chance: float) -> set[str]:
        """Kill it after so many more effects; return the ids of the task runs that have finished."""
        before = len(self.ledger)
        script = Script(FLOW, self.kind, env=self.env)
        until(lambda: len(self.ledger) >= before + effects or not script.is_running)
        for _ in range(int(chance * 3000)):  # somewhere between this effect and the next
            os.getpid()
        self.hit = script.kill() and not self.has_ended
        return self.finished()

    @property
    def has_ended(self) -> bool:
        return any(run.state is State.SUCCEEDED for run in self.home.runs())

    def result(self) -> str:
        with self.home.session() as (session, _):
            return f"RESULT {session.results.load(self.home.last().result)}"

    def finished(self) -> set[str]:
        rows = self.home.all_task_runs()
        for row in rows:
            assert row.state is not State.SUCCEEDED or row.result is not None
        return {row.id for row in rows if row.state is State.SUCCEEDED}

    def effects(self, after: int = 0) -> list[tuple[str, str, str]]:
        return [tuple(line.split(" ")) for line in self.ledger.lines(after)]  # type: ignore[misc]


@pytest.fixture(scope="module", params=["sync", "async"])
def undisturbed(request, tmp_path_factory):
    one = Interrupted(tmp_path_factory.mktemp("undisturbed"), request.param)
    result = one.run()
    labels = Counter(label for label, _, _ in one.effects())
    assert 95 <= len(labels) <= 140
    assert all(count == (2 if label.startswith("flaky") else 1) for label, count in labels.items())
    return request.param, result, labels


def check_one(path: Path, kind: str, result: str, labels: Counter[str], dice: random.Random) -> int:
    """Kill a run once to three times, let it end, and compare; return how many kills struck."""
    path.mkdir()
    one, hits = Interrupted(path, kind), 0
    total = sum(labels.values())
    for _ in range(dice.choice([1, 1, 1, 2, 3])):
        done_before = one.finished() if hits else set()
        finished = one.kill_after(dice.randrange(total), dice.random())
        assert done_before <= finished, "what had finished stayed finished"
        at_kill = len(one.ledger)
        hits += one.hit
        known = {identity: label for label, identity, _ in one.effects()}
        if one.has_ended:
            break
    else:
        assert one.run() == result
    assert one.result() == result
    assert len(one.home.runs()) == 1
    again = Counter(identity for _, identity, _ in one.effects(at_kill))
    for identity in again:
        assert identity not in finished, f"{known.get(identity)} had finished and was done again"
    found = Counter(label for label, _, _ in one.effects())
    assert found.keys() == labels.keys(), "none is missing, none is new"
    ids = {}
    for label, identity, _attempt in one.effects():
        assert ids.setdefault(label, identity) == identity, f"{label} is one task run for ever"
    return hits


def many(tmp_path: Path, undisturbed, seeds: range) -> None:
    kind, result, labels = undisturbed
    hits = sum(check_one(tmp_path / str(n), kind, result, labels, random.Random(n)) for n in seeds)
    assert hits >= len(seeds) * 0.7, f"only {hits} kills struck in the middle of {len(seeds)} runs"


def test_a_run_that_is_killed_at_random_moments_ends_as_if_undisturbed(tmp_path, undisturbed):
    many(tmp_path, undisturbed, range(5))


@pytest.mark.soak
def test_a_hundred_kills(tmp_path, undisturbed):
    many(tmp_path, undisturbed, range(100, 150))
