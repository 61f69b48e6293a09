"""What must hold when the dust has settled: read from the ledger and the store, which know nothing of each other."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from ostinato.io.serializers import decode
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ostinato.store.store import Store


class Told:
    """The ledger, read."""

    def __init__(self, ledger: Path) -> None:
        self.did: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
        """By task run: (epoch, attempt, token) of each time it executed."""
        self.saw: dict[str, set[str]] = defaultdict(set)
        """By task run: the tokens that takers of its result took."""
        for line in ledger.read_text().splitlines():
            kind, _, task_run, *rest = line.split()
            if kind == "did":
                self.did[task_run].append((int(rest[0]), int(rest[1]), rest[2]))
            else:
                self.saw[task_run].add(rest[0])

    @property
    def effects(self) -> int:
        """How many times tasks executed."""
        return sum(map(len, self.did.values()))


def check(store: Store, told: Told, run_ids: Sequence[str]) -> dict[str, int]:
    """Hold store and ledger against each other; return what happened, counted."""
    counts: Counter[str] = Counter(runs=len(run_ids))
    for run_id in run_ids:
        run = store.get_run(run_id)
        assert run.state is State.SUCCEEDED, f"{run.flow} {run_id} is {run.state} ({run.reason}): {run.error}"
        counts["epochs"] += run.epoch
        counts["runs begun again"] += run.epoch > 1
    for task_run, tokens in told.saw.items():
        assert len(tokens) == 1, f"task run {task_run} gave different results to different takers: {sorted(tokens)}"
    finished = 0
    for run_id in _with_children(store, run_ids):
        for row in store.load(run_id):
            if row.kind != "task" or row.state is not State.SUCCEEDED or row.orphaned or row.run_id != run_id:
                continue
            finished += 1
            token = decode(row.result or b"")
            executed = told.did[row.id]
            assert token in {each[2] for each in executed}, (
                f"{row.task} {row.id} has a result that nobody made: {token}"
            )
            taken = told.saw.get(row.id, {token})
            assert taken == {token}, f"{row.task} {row.id}: acknowledged {sorted(taken)}, stored {token}"
            twice = [key for key, n in Counter((epoch, attempt) for epoch, attempt, _ in executed).items() if n > 1]
            assert not twice, f"{row.task} {row.id} finished more than once in (epoch, attempt) {twice}"
    counts["task runs"] = finished
    counts["effects"] = told.effects
    assert not store.list_held_runs(), "workers still hold runs"
    assert store.survey().tickets == 0, "runs are still queued"
    for run_id in run_ids:
        assert not store.list_waits(run_id), f"run {run_id} has ended and waits still"
    return dict(counts)


def _with_children(store: Store, run_ids: Sequence[str]) -> list[str]:
    found, ahead = [], list(run_ids)
    while ahead:
        run_id = ahead.pop()
        found.append(run_id)
        ahead += [row.child_run_id for row in store.load(run_id) if row.child_run_id]
    return list(dict.fromkeys(found))
