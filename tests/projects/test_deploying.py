"""From a folder to what is stored: the whole way, with real stores and real processes."""

from __future__ import annotations

import io
import json
import tarfile
import time
from typing import TYPE_CHECKING

import pytest
from tests.projects.folder import FLOW, write

from ostinato.authoring.load import load_flow
from ostinato.authoring.scan import Scanner
from ostinato.authoring.watching import Watcher
from ostinato.errors import UsageError
from ostinato.runtime.deploying import deploy

if TYPE_CHECKING:
    from pathlib import Path

    from ostinato.io.results import ResultStore
    from ostinato.store.store import Store

BROKEN = "import ostinato\nraise ValueError('half a thought')\n"


def test_deploy_stores_the_project_and_what_it_holds(store: Store, results: ResultStore, root: Path) -> None:
    write(root, {"a.py": FLOW.format(name="first"), "b.py": FLOW.format(name="second")})
    report = deploy(store, results, root, bundle=False)
    assert (report.added, report.errors, report.stored) == (["first", "second"], {}, True)
    stored = store.list_deployed(project="weather")
    assert [(item.name, item.target, item.bundle) for item in stored] == [
        ("first", f"{root}/a.py:first", None),
        ("second", f"{root}/b.py:second", None),
    ]
    assert json.loads(stored[0].schema)["properties"] == {"n": {"type": "integer", "default": 1}}
    (project,) = store.list_projects()
    assert (project.name, project.root, project.errors, project.bundle) == ("weather", str(root), "{}", None)
    assert load_flow(stored[0].target).name == "first"


def test_deploy_of_an_unchanged_project_writes_nothing(store: Store, results: ResultStore, root: Path) -> None:
    write(root, {"a.py": FLOW.format(name="first")})
    for bundle in (False, True):
        assert deploy(store, results, root, bundle=bundle).stored
        before = store.list_projects(), store.list_deployed()
        again = deploy(store, results, root, bundle=bundle)
        assert (again.stored, again.added, again.changed, again.removed) == (False, [], [], [])
        assert [item.name for item in again.deployed] == ["first"]
        assert (store.list_projects(), store.list_deployed()) == before


def test_deploy_keeps_good_definitions_of_a_broken_module_until_it_is_mended(
    store: Store, results: ResultStore, root: Path
) -> None:
    write(root, {"a.py": FLOW.format(name="first"), "b.py": FLOW.format(name="second")})
    good = deploy(store, results, root, bundle=False).deployed[0]
    write(root, {"a.py": BROKEN})
    report = deploy(store, results, root, bundle=False)
    assert (report.broken, report.changed, report.removed) == (["first"], ["first"], [])
    kept = store.get_deployed("first")
    assert "half a thought" in (kept.broken or "")
    assert (kept.target, kept.schema, kept.code) == (good.target, good.schema, good.code)
    assert store.get_deployed("second").broken is None
    assert "half a thought" in json.loads(store.list_projects()[0].errors)["a.py"]
    write(root, {"a.py": FLOW.format(name="first")})
    report = deploy(store, results, root, bundle=False)
    assert (report.broken, report.changed, report.errors) == ([], ["first"], {})
    assert store.get_deployed("first").broken is None
    assert store.list_projects()[0].errors == "{}"


def test_deploy_tells_of_a_broken_file_that_never_held_anything(store: Store, results: ResultStore, root: Path) -> None:
    write(root, {"a.py": FLOW.format(name="first"), "new.py": BROKEN})
    assert deploy(store, results, root, bundle=False).broken == []
    assert set(json.loads(store.list_projects()[0].errors)) == {"new.py"}
    (root / "new.py").unlink()
    assert deploy(store, results, root, bundle=False).stored
    assert store.list_projects()[0].errors == "{}"


def test_deploy_keeps_variants_whose_own_module_breaks(store: Store, results: ResultStore, root: Path) -> None:
    variants = "from a import first\nfrom ostinato import Deployment\nd = Deployment(first, 'nightly', {'n': 2})\n"
    write(root, {"a.py": FLOW.format(name="first"), "deployments.py": variants})
    deploy(store, results, root, bundle=False)
    write(root, {"deployments.py": variants + "oh no\n"})
    assert deploy(store, results, root, bundle=False).broken == ["first/nightly"]
    write(root, {"deployments.py": "# ostinato has nothing here\n"})
    assert deploy(store, results, root, bundle=False).removed == ["first/nightly"]
    assert [item.name for item in store.list_deployed()] == ["first"]


def test_deploy_removes_what_is_gone_and_keeps_what_an_operator_paused(
    store: Store, results: ResultStore, root: Path
) -> None:
    write(root, {"a.py": FLOW.format(name="first"), "b.py": FLOW.format(name="second")})
    deploy(store, results, root, bundle=False)
    store.pause_deployed("first", paused=True)
    assert not deploy(store, results, root, bundle=False).stored
    (root / "b.py").unlink()
    write(root, {"a.py": FLOW.format(name="first") + "# changed\nfirst = first.with_options(tags=['x'])\n"})
    report = deploy(store, results, root, bundle=False)
    assert (report.removed, report.changed) == (["second"], ["first"])
    (left,) = store.list_deployed()
    assert (left.name, left.paused, left.tags) == ("first", True, ["x"])


def test_deploy_with_a_bundle_stores_source_that_can_be_run_elsewhere(
    store: Store, results: ResultStore, root: Path, tmp_path: Path
) -> None:
    write(root, {"flows/a.py": FLOW.format(name="first"), ".env": "PASSWORD=x"})
    report = deploy(store, results, root, bundle=True)
    (item,) = store.list_deployed()
    assert item.target == "flows/a.py:first"
    assert item.bundle == report.project.bundle == store.list_projects()[0].bundle
    assert report.left_out == [".env"]
    assert item.bundle is not None
    with tarfile.open(fileobj=io.BytesIO(results.get(item.bundle)), mode="r:gz") as tar:
        tar.extractall(tmp_path / "elsewhere", filter="data")
    assert load_flow(item.target, tmp_path / "elsewhere").name == "first"


def test_deploy_gives_the_same_bundle_from_two_places(store: Store, results: ResultStore, tmp_path: Path) -> None:
    files = {"a.py": FLOW.format(name="first"), "pyproject.toml": '[tool.ostinato.project]\nname = "same"\n'}
    one = deploy(store, results, write(tmp_path / "one", files), bundle=True)
    other = deploy(store, results, write(tmp_path / "other" / "place", files), bundle=True)
    assert one.project.bundle == other.project.bundle
    assert other.changed == []


def test_deploy_keeps_a_broken_flows_old_bundle(store: Store, results: ResultStore, root: Path) -> None:
    write(root, {"a.py": FLOW.format(name="first"), "b.py": FLOW.format(name="second")})
    old = deploy(store, results, root, bundle=True).project.bundle
    write(root, {"a.py": BROKEN})
    new = deploy(store, results, root, bundle=True).project.bundle
    assert old != new
    assert [item.bundle for item in store.list_deployed()] == [old, new]


def test_deploy_refuses_a_flow_that_the_bundle_would_not_hold(store: Store, results: ResultStore, root: Path) -> None:
    write(root, {"a.py": FLOW.format(name="first"), "my.env.py": "", "secret.pem": ""})
    (root / "b.py").symlink_to(write(root.parent, {"out.py": FLOW.format(name="second")}) / "out.py")
    report = deploy(store, results, root, bundle=True)
    assert [item.name for item in report.deployed] == ["first"]
    assert "second cannot be deployed with a bundle: b.py is left out" in report.errors["b.py"]


def test_deploy_refuses_names_that_another_project_has(store: Store, results: ResultStore, tmp_path: Path) -> None:
    deploy(store, results, write(tmp_path / "one", {"a.py": FLOW.format(name="first")}), bundle=False)
    with pytest.raises(UsageError, match="first"):
        deploy(store, results, write(tmp_path / "two", {"a.py": FLOW.format(name="first")}), bundle=False)
    assert [item.project for item in store.list_deployed()] == ["one"]


def test_deploy_records_which_flows_are_pinned_and_their_environment(
    store: Store, results: ResultStore, root: Path
) -> None:
    flow = "from ostinato import flow\n\n@flow(code='pinned')\ndef first(): ...\n"
    config = '[tool.ostinato.project]\nname = "weather"\nenvironment = "uv"\n'
    write(root, {"a.py": flow, "pyproject.toml": config, "uv.lock": "version = 1\n"})
    deploy(store, results, root, bundle=True)
    (item,) = store.list_deployed()
    assert item.code_policy == "pinned"
    assert json.loads(item.options)["environment"] == "uv"


def test_save_is_stored_within_a_second(store: Store, results: ResultStore, root: Path) -> None:
    write(root, {"a.py": FLOW.format(name="first")})
    deploy(store, results, root, bundle=False)
    watcher, scanner = Watcher(root), Scanner()
    scanner.prepare()
    saved = time.monotonic()
    write(root, {"a.py": FLOW.format(name="renamed")})
    assert watcher.wait(10)
    report = deploy(store, results, root, bundle=False, scanner=scanner)
    took = time.monotonic() - saved
    assert (report.added, report.removed) == (["renamed"], ["first"])
    assert took < 3  # 0.35 to 0.5 on a machine that does nothing else; `make bench` holds the figure
