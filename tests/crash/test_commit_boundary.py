"""The store fails before, after and in the middle of every single commit; the run goes on as if nothing had been."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from tests.inside import Faulty, Home

from ostinato import Retry, current, flow, task
from ostinato.errors import StoreError
from ostinato.states import State

if TYPE_CHECKING:
    from pathlib import Path

EFFECTS: list[tuple[str, str]] = []
MODES = ("before", "after", "middle")


def effect(label: str) -> None:
    EFFECTS.append((label, current.task_run_id or ""))


@task
def one(i: int) -> int:
    effect(f"one-{i}")
    return i


@task(retry=Retry(1))
def flaky(i: int) -> int:
    effect(f"flaky-{i}")
    if "tried" not in current.state:
        current.state["tried"] = True
        raise ConnectionError
    return i


@task
def outer(i: int) -> int:
    effect(f"outer-{i}")
    return one(i) + one.submit(i + 1).result()


@task
async def asynchronous(i: int) -> int:
    effect(f"async-{i}")
    return i


@flow
def child(i: int) -> int:
    return one(i) + one(i + 1)


@flow
def small() -> int:
    total = one(1) + one(2) + outer(10) + flaky(3) + child(20)
    total += sum(one.map(range(30, 33)))
    return total + asynchronous.submit(5).result() + one.submit(one.submit(40)).result()


def finished(home: Home) -> set[str]:
    return {row.id for row in home.all_task_runs() if row.state is State.SUCCEEDED}


def crash(home: Home, at: int, how: str, *, again: bool = False) -> Faulty:
    """Run, or go on, until commit `at` fails."""
    faulty = Faulty(home.open(), lambda n, _: how if n == at else None)
    try:
        value = home.resume(small, store=faulty) if again else home.run(small, store=faulty)
    except StoreError as error:
        faulty.value = error
    else:
        faulty.value = value
    return faulty


def go_on(home: Home, expected: Any, labels: Counter[str]) -> None:
    done, before = finished(home), len(EFFECTS)
    if home.last().state is not State.SUCCEEDED:
        assert home.last().state is State.CRASHED
        assert home.resume(small) == expected
    repeated = {identity for _, identity in EFFECTS[before:]} & done
    assert not repeated, f"{[label for label, i in EFFECTS if i in repeated]} had finished and was done again"
    assert {label for label, _ in EFFECTS} == set(labels), "none is missing, none is new"
    run = home.last()
    assert (run.state, home_result(home)) == (State.SUCCEEDED, expected)
    assert finished(home) >= done
    assert not [row for row in home.all_task_runs() if row.state.is_live]


def home_result(home: Home) -> Any:
    with home.session() as (session, _):
        return session.results.load(home.last().result)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Counter[str], int]:
    home = Home(tmp_path_factory.mktemp("undisturbed"))
    EFFECTS.clear()
    faulty = Faulty(home.open())
    value = home.run(small, store=faulty)
    labels = Counter(label for label, _ in EFFECTS)
    assert labels["flaky-3"] == 2
    assert faulty.commits >= 15
    return value, labels, faulty.commits


@pytest.mark.parametrize("how", MODES)
def test_a_store_that_fails_at_any_commit_loses_nothing(tmp_path: Path, undisturbed: Any, how: str) -> None:
    expected, labels, commits = undisturbed
    struck = 0
    for at in range(commits + 2):
        EFFECTS.clear()
        home = Home(tmp_path / f"{at}")
        faulty = crash(home, at, how)
        if faulty.failed_at is None:
            assert faulty.value == expected
            continue
        struck += 1
        assert isinstance(faulty.value, StoreError), "who runs it hears of it"
        go_on(home, expected, labels)
    assert struck >= commits - 3, "nearly every commit was struck"


@pytest.mark.parametrize("how", MODES)
def test_a_store_that_fails_again_at_any_commit_of_the_recovery_loses_nothing(
    tmp_path: Path, undisturbed: Any, how: str
) -> None:
    expected, labels, commits = undisturbed
    struck = 0
    for at in range(commits):
        EFFECTS.clear()
        home = Home(tmp_path / f"{at}")
        crash(home, commits // 3, how)
        done, before = finished(home), len(EFFECTS)
        faulty = crash(home, at, how, again=True)
        assert not {identity for _, identity in EFFECTS[before:]} & done
        struck += faulty.failed_at is not None
        go_on(home, expected, labels)
    assert struck >= 8


def test_what_a_commit_wrote_half_is_not_there(tmp_path: Path) -> None:
    home = Home(tmp_path)

    before: list[Any] = []

    def contents() -> list[Any]:
        rows = sorted((row.run_id, row.seq, row.failures) for row in home.all_task_runs())
        return [rows, len(home.attempts()), len([e for e in home.events() if e.kind != "run.crashed"])]

    def fails(_: int, entries: Any) -> str | None:
        if not (entries.task_runs and entries.attempts and entries.events):
            return None
        before.extend(contents())
        return "middle"

    with pytest.raises(StoreError):
        home.run(small, store=Faulty(home.open(), fails))
    assert before[0], "something had been written before"
    assert contents() == before, "nothing of the transaction that failed"
