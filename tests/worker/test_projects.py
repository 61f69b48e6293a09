"""Workers and projects as people lay them out: with a ``src`` folder, with files of equal names in several folders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ostinato.runtime.deploying import deploy
from ostinato.runtime.starting import StartOrder, start

if TYPE_CHECKING:
    from pathlib import Path

    from tests.worker.conftest import Bench


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def asked(bench: Bench, name: str, **parameters: str) -> object:
    """Start a deployment, and return what its run gives."""
    order = StartOrder(deployment=name, parameters=dict(parameters))
    return bench.value(bench.ended(start(bench.store, bench.results, order).run.id))


def test_a_project_that_imports_from_its_root_and_from_src_is_carried_out(bench: Bench) -> None:
    write(
        bench.project,
        {
            "flows.py": "",
            "src/shop/__init__.py": "",
            "src/shop/prices.py": "PRICE = 7\n",
            "shared.py": "FACTOR = 6\n",
            "jobs/sell.py": "from ostinato import flow\nfrom shared import FACTOR\nfrom shop.prices import PRICE\n\n"
            "@flow\ndef sell() -> int:\n    import shop.late\n    return PRICE * FACTOR + shop.late.MORE\n",
            "src/shop/late.py": "MORE = 1\n",
        },
    )
    found = deploy(bench.store, bench.results, bench.project, bundle=False)
    assert not found.errors
    worker = bench.work(slots=1)
    assert asked(bench, "sell") == 43
    assert asked(bench, "sell") == 43
    assert len(worker.launcher.process_ids) == 1


def test_files_of_equal_names_in_several_folders_mean_their_own(bench: Bench) -> None:
    files = {"flows.py": ""}
    for folder in ("a", "b"):
        files[f"{folder}/job.py"] = (
            "import importlib\nfrom ostinato import flow\nfrom words import WORD\n\n"
            f"@flow(name='{folder}')\ndef tell(which: str) -> str:\n"
            "    return WORD + importlib.import_module(which).MORE\n"
        )
        files[f"{folder}/words.py"] = f"WORD = 'word of {folder}'\n"
        for which in ("soon", "later"):
            files[f"{folder}/{which}.py"] = f"MORE = ', {which} of {folder}'\n"
    write(bench.project, files)
    found = deploy(bench.store, bench.results, bench.project, bundle=False)
    assert not found.errors
    bench.work(slots=1)
    for name, which in (("a", "soon"), ("b", "soon"), ("b", "later"), ("a", "later"), ("a", "soon")):
        assert asked(bench, name, which=which) == f"word of {name}, {which} of {name}"


def test_a_bundle_is_laid_out_as_the_project_was(bench: Bench) -> None:
    write(
        bench.project,
        {
            "flows.py": "",
            "src/shop/__init__.py": "PRICE = 5\n",
            "a/job.py": "from ostinato import flow\nfrom words import WORD\nimport shop\n\n"
            "@flow\ndef tell() -> str:\n    return f'{WORD} {shop.PRICE}'\n",
            "a/words.py": "WORD = 'a'\n",
            "b/words.py": "WORD = 'b'\n",
        },
    )
    deploy(bench.store, bench.results, bench.project, bundle=True)
    bench.work(slots=1, roots=[])
    assert asked(bench, "tell") == "a 5"
