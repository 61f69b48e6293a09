"""Looking at a project: real folders, a real process."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from tests.process import until
from tests.projects.folder import FLOW, look, names, write

from ostinato.authoring.project import find_modules, find_project
from ostinato.authoring.scan import Scanner, scan
from ostinato.errors import SettingError, TargetError, UsageError
from ostinato.settings import load_settings


def test_scan_finds_flows_by_looking_at_modules(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": FLOW.format(name="first"), "deep/er/b.py": FLOW.format(name="second")})
    found = look(tmp_path)
    assert names(found) == ["first", "second"]
    assert found.errors == {}
    assert found.files == ["a.py", "deep/er/b.py"]
    assert [item.target for item in found.deployed] == [f"{tmp_path}/a.py:first", f"{tmp_path}/deep/er/b.py:second"]


def test_scan_describes_a_flow_as_data(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "a.py": """
            from ostinato import Resources, Retry, flow

            @flow(name="report", pool="gpu", queue="night", tags=["core"], timeout=60, retry=Retry(2, memory=2.0),
                  resources=Resources(cpu=2, memory="1GiB"), code="pinned", cold=True)
            def make(n: int, day: str = "today"):
                '''Make the report.

                Daily.
                '''
            """
        },
    )
    (item,) = look(tmp_path).deployed
    assert (item.name, item.flow, item.target) == ("report", "report", f"{tmp_path}/a.py:make")
    assert (item.pool, item.queue, item.priority, item.tags) == ("gpu", "night", 0, ["core"])
    assert item.description == "Make the report.\n\nDaily."
    assert json.loads(item.schema)["required"] == ["n"]
    assert json.loads(item.resources or "") == {"cpu": 2, "memory": 2**30}
    assert json.loads(item.options) == {
        "file": "a.py",
        "retry_on_oom": {"times": 2, "memory": 2.0},
        "timeout": 60.0,
        "cold": True,
    }
    assert (item.code_policy, item.bundle, item.broken) == ("pinned", None, None)
    assert item.code
    assert json.loads(item.blueprint or "")["complete"]


def test_scan_reports_a_broken_module_with_the_users_frames_and_goes_on(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "a.py": "import ostinato\nimport helper\n",
            "helper.py": "def go():\n    return 1 / 0\n\ngo()\n",
            "b.py": FLOW.format(name="good"),
            "c.py": "import ostinato\nthis is no python\n",
        },
    )
    found = look(tmp_path)
    assert names(found) == ["good"]
    assert set(found.errors) == {"a.py", "c.py"}
    assert "ZeroDivisionError" in found.errors["a.py"]
    assert "helper.py" in found.errors["a.py"]
    assert "return 1 / 0" in found.errors["a.py"]
    assert "importlib" not in found.errors["a.py"]
    assert "authoring" not in found.errors["a.py"]
    assert "line 2" in found.errors["c.py"]


def test_scan_is_not_disturbed_by_what_modules_print(tmp_path: Path) -> None:
    noise = "import os, sys\nprint('{}' * 10000)\nos.write(1, b'x' * 100000)\nos.write(2, b'y')\nsys.stdout.close()\n"
    write(tmp_path, {"a.py": noise + FLOW.format(name="loud")})
    assert names(look(tmp_path)) == ["loud"]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import os; os._exit(3)", "ends the process (exit code 3)"),
        ("import os; os.kill(os.getpid(), 9)", "ends the process by the signal SIGKILL"),
        ("raise SystemExit(4)", "SystemExit: 4"),
        ("raise KeyboardInterrupt", "ends the process by the signal SIGINT"),
    ],
)
def test_scan_outlives_a_module_that_ends_the_process(tmp_path: Path, code: str, says: str) -> None:
    write(
        tmp_path,
        {"a.py": FLOW.format(name="a"), "m.py": f"import ostinato\n{code}\n", "z.py": FLOW.format(name="z")},
    )
    found = look(tmp_path)
    assert names(found) == ["a", "z"]
    assert list(found.errors) == ["m.py"]
    assert says in found.errors["m.py"]
    assert 'if __name__ == "__main__":' in found.errors["m.py"]


def test_scan_blames_those_that_import_what_ends_the_process_too(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "m.py": "import os, ostinato\nos._exit(3)\n",
            "n.py": "import m\n" + FLOW.format(name="n"),
            "z.py": FLOW.format(name="z"),
        },
    )
    found = look(tmp_path)
    assert names(found) == ["z"]
    assert "ends the process (exit code 3)" in found.errors["n.py"]
    assert "line 1" in found.errors["n.py"]


def test_scan_interrupts_a_module_that_loops_and_says_where(tmp_path: Path) -> None:
    loop = "import ostinato, time\n\ndef spin():\n    while True:\n        try:\n            time.sleep(1)\n        except Exception:\n            pass\n\nspin()\n"
    write(tmp_path, {"a.py": loop, "z.py": FLOW.format(name="z")})
    found = look(tmp_path, limit=0.5)
    assert names(found) == ["z"]
    assert "longer than 0.5 s" in found.errors["a.py"]
    assert "in spin" in found.errors["a.py"]


def test_scan_kills_a_module_that_does_not_let_itself_be_interrupted(tmp_path: Path) -> None:
    stuck = (
        "import ostinato, signal, time\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\nwhile True:\n    time.sleep(1)\n"
    )
    write(tmp_path, {"a.py": stuck, "z.py": FLOW.format(name="z")})
    found = look(tmp_path, limit=0.3)
    assert names(found) == ["z"]
    assert "does not come to an end" in found.errors["a.py"]


def test_scan_says_its_own_only_once_when_a_module_forks(tmp_path: Path) -> None:
    fork = "import os\nif (child := os.fork()) == 0:\n    raise ValueError\nos.waitpid(child, 0)\n"
    write(tmp_path, {"a.py": fork + FLOW.format(name="forked"), "z.py": FLOW.format(name="z")})
    assert names(look(tmp_path)) == ["forked", "z"]


def test_scan_does_not_wait_for_what_a_module_leaves_running(tmp_path: Path) -> None:
    left = """
        import os, threading, time, subprocess, sys
        threading.Thread(target=time.sleep, args=(60,)).start()
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        with open("child", "w") as file:
            file.write(str(child.pid))
        """
    write(tmp_path, {"a.py": left.replace("\n        ", "\n") + FLOW.format(name="a")})
    begun = time.monotonic()
    assert names(look(tmp_path)) == ["a"]
    assert time.monotonic() - begun < 20
    child = int((tmp_path / "child").read_text())
    until(lambda: _is_gone(child), "the child to be killed")


def _is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in {"Z", "X"}
    except FileNotFoundError:
        return True


def test_scan_runs_no_flow_that_a_module_calls_when_it_is_imported(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": FLOW.format(name="a") + "open('ran', 'w')\na()\n", "b.py": FLOW.format(name="b")})
    found = look(tmp_path)
    assert names(found) == ["b"]
    assert "The flow a is called while its file is imported" in found.errors["a.py"]
    assert 'if __name__ == "__main__":' in found.errors["a.py"]
    assert 'a.py", line 12' in found.errors["a.py"]
    assert "authoring" not in found.errors["a.py"]


def test_scan_understands_packages_and_relative_imports(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "pkg/__init__.py": "",
            "pkg/steps.py": "from ostinato import task\n\n@task\ndef one(n: int) -> int:\n    return n\n",
            "pkg/sub/__init__.py": "",
            "pkg/sub/flows.py": "from ostinato import flow\nfrom ..steps import one\n\n@flow\ndef packed(n: int = 1) -> int:\n    return one(n)\n",
        },
    )
    found = look(tmp_path)
    assert found.errors == {}
    assert names(found) == ["packed"]
    (node, *_) = json.loads(found.deployed[0].blueprint or "")["nodes"]
    assert node["key"] == "steps.one"


def test_scan_finds_modules_below_the_root_and_below_src(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "src/lib/__init__.py": "NAME = 'x'\n",
            "shared/names.py": "OTHER = 'y'\n",
            "flows/f.py": "import lib\nimport shared.names\n" + FLOW.format(name="f"),
        },
    )
    found = look(tmp_path)
    assert found.errors == {}
    assert names(found) == ["f"]


def test_scan_gives_each_folder_its_own_files_of_one_name(tmp_path: Path) -> None:
    flow = "import steps\nfrom ostinato import flow\n\n@flow(name=steps.NAME)\ndef go(): ...\n"
    write(
        tmp_path,
        {"a/flows.py": flow, "a/steps.py": "NAME = 'a'\n", "b/flows.py": flow, "b/steps.py": "NAME = 'b'\n"},
    )
    found = look(tmp_path)
    assert found.errors == {}
    assert names(found) == ["a", "b"]


def test_scan_refuses_two_flows_of_one_name_and_names_both_places(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": FLOW.format(name="same"), "b.py": FLOW.format(name="same"), "c.py": FLOW.format(name="c")})
    found = look(tmp_path)
    assert names(found) == ["c"]
    assert set(found.errors) == {"a.py", "b.py"}
    assert "Two flows are called 'same': a.py, line 8 and b.py, line 8." in found.errors["a.py"]


def test_scan_takes_a_flow_once_that_other_modules_import(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "b.py": FLOW.format(name="base"),
            "a.py": "from b import base\nfrom ostinato import flow\n\n@flow\ndef top(): return base()\n",
            "c.py": "from b import base\nquick = base.with_options(name='quick', pool='fast')\nalias = base\n# ostinato\n",
        },
    )
    found = look(tmp_path)
    assert found.errors == {}
    assert {item.name: item.target.rpartition("/")[2] for item in found.deployed} == {
        "base": "b.py:base",
        "quick": "c.py:quick",
        "top": "a.py:top",
    }


def test_scan_leaves_flows_of_libraries_alone_beside_ones_own(tmp_path: Path) -> None:
    write(tmp_path / "else", {"library.py": FLOW.format(name="foreign")})
    path = f"import sys\nsys.path.append({str(tmp_path / 'else')!r})\nfrom library import foreign\n"
    write(tmp_path / "own", {"a.py": path + FLOW.format(name="mine")})
    assert names(look(tmp_path / "own")) == ["mine"]
    write(tmp_path / "own", {"b.py": path + "# ostinato: to deploy it from here\n"})
    found = look(tmp_path / "own")
    assert [item.target.rpartition("/")[2] for item in found.deployed] == ["b.py:foreign", "a.py:mine"]


def test_scan_is_not_stopped_by_objects_that_dislike_being_looked_at(tmp_path: Path) -> None:
    proxy = """
class Proxy:
    @property
    def __class__(self):
        raise RuntimeError("working outside of a context")
    def __getattr__(self, name):
        raise RuntimeError(name)
    def __eq__(self, other):
        raise RuntimeError("no")

request = Proxy()
"""
    write(tmp_path, {"a.py": proxy + FLOW.format(name="a")})
    found = look(tmp_path)
    assert (names(found), found.errors) == (["a"], {})


def test_scan_describes_deployments_beside_the_flow_they_are_of(tmp_path: Path) -> None:
    variants = """
        from datetime import date
        from a import base
        from ostinato import Deployment, Resources

        nightly = Deployment(base, name="nightly", parameters={"n": 5}, pool="big", queue="q", priority=9,
                             tags=["night"], resources=Resources(gpu=1), description="At night.")
        small = Deployment(base, name="small")
        """
    write(
        tmp_path,
        {
            "a.py": FLOW.format(name="base"),
            "deployments.py": variants,
            "other.py": "from deployments import nightly\nimport ostinato\n",
        },
    )
    found = look(tmp_path)
    assert found.errors == {}
    base, nightly, small = found.deployed
    assert [item.name for item in found.deployed] == ["base", "base/nightly", "base/small"]
    assert nightly.flow == "base"
    assert nightly.target == base.target == small.target == f"{tmp_path}/a.py:base"
    assert json.loads(nightly.parameters) == {"n": 5}
    assert (nightly.pool, nightly.queue, nightly.priority, nightly.tags) == ("big", "q", 9, ["night"])
    assert (nightly.resources, nightly.description) == ('{"gpu":1}', "At night.")
    assert json.loads(nightly.options)["file"] == "deployments.py"
    assert (small.pool, small.parameters) == ("default", "{}")


def test_scan_lets_a_deployment_without_a_name_say_how_the_flow_itself_is_deployed(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"a.py": FLOW.format(name="base") + "from ostinato import Deployment\nd = Deployment(base, pool='big')\n"},
    )
    found = look(tmp_path)
    assert [(item.name, item.pool) for item in found.deployed] == [("base", "big")]
    assert found.errors == {}


def test_scan_refuses_two_deployments_of_one_name(tmp_path: Path) -> None:
    more = "from ostinato import Deployment\nd = Deployment(base, 'x')\ne = Deployment(base, 'x')\n"
    write(tmp_path, {"a.py": FLOW.format(name="base") + more})
    found = look(tmp_path)
    assert names(found) == ["base"]
    assert "Two deployments are called 'base/x'" in found.errors["a.py"]


def test_scan_says_which_deployment_has_no_flow_in_the_project(tmp_path: Path) -> None:
    more = "from ostinato import Deployment\nd = Deployment(base.with_options(name='hidden'), 'x')\n"
    write(tmp_path, {"a.py": FLOW.format(name="base") + more})
    found = look(tmp_path)
    assert names(found) == ["base"]
    assert "Put the flow in a variable" in found.errors["a.py"]


def test_scan_refuses_a_deployment_whose_parameters_are_no_json(tmp_path: Path) -> None:
    text = """
        from typing import Any
        from ostinato import Deployment, flow

        @flow
        def base(n: Any): ...

        d = Deployment(base, "x", {"n": object()})
        """
    write(tmp_path, {"a.py": text})
    found = look(tmp_path)
    assert names(found) == ["base"]
    assert "base/x cannot be deployed: The parameter n = " in found.errors["a.py"]


def test_scan_sees_a_file_that_is_saved_twice_within_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytecode is taken for fresh by the second and the size of its source."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    file, later = tmp_path / "a.py", int(time.time()) + 3600  # a second that is not over
    for number in "123456":
        write(tmp_path, {"a.py": FLOW.format(name=f"flow{number}")})
        os.utime(file, (later, later))
        assert names(look(tmp_path)) == [f"flow{number}"]


def test_scan_of_a_prepared_process_sees_what_was_saved_after_it_started(tmp_path: Path) -> None:
    scanner = Scanner()
    scanner.prepare()
    write(tmp_path, {"a.py": FLOW.format(name="a")})
    assert names(scanner.scan(find_project(tmp_path))) == ["a"]
    scanner.prepare()
    scanner.close()


def test_scan_uses_bytecode_that_is_certainly_of_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    write(tmp_path, {"a.py": FLOW.format(name="a")})
    os.utime(tmp_path / "a.py", (1_700_000_000, 1_700_000_000))
    look(tmp_path)
    (compiled,) = (tmp_path / "__pycache__").iterdir()
    made = compiled.stat().st_ino
    look(tmp_path)
    assert compiled.stat().st_ino == made


def test_scan_that_cannot_begin_says_why(tmp_path: Path) -> None:
    project = find_project(tmp_path)
    tmp_path.rmdir()
    with pytest.raises(UsageError, match="could not be looked at: FileNotFoundError"):
        scan(project)


# --- which modules, and what is configured


def test_modules_are_those_that_mention_ostinato_outside_of_tests_and_environments(tmp_path: Path) -> None:
    mention = "import ostinato\n"
    write(
        tmp_path,
        {
            "a.py": mention,
            "sub/b.py": mention,
            "plain.py": "x = 1\n",
            "test_a.py": mention,
            "conftest.py": mention,
            "setup.py": mention,
            "tests/c.py": mention,
            ".hidden/c.py": mention,
            "node_modules/c.py": mention,
            "build/c.py": mention,
            "dist/c.py": mention,
            "env/pyvenv.cfg": "",
            "env/lib/c.py": mention,
            "notes.txt": mention,
        },
    )
    files = find_modules(find_project(tmp_path)).files
    assert [os.path.relpath(file, tmp_path) for file in files] == ["a.py", "sub/b.py"]


def test_modules_are_chosen_by_globs_where_there_are_any(tmp_path: Path) -> None:
    config = '[tool.ostinato.project]\nmodules = ["flows/**/*.py", "one.py"]\nexclude = ["flows/old/**"]\n'
    write(
        tmp_path,
        {
            "pyproject.toml": config,
            "one.py": "",
            "two.py": "import ostinato\n",
            "flows/a.py": "",
            "flows/x/y/b.py": "",
            "flows/old/c.py": "",
        },
    )
    files = find_modules(find_project(tmp_path)).files
    assert [os.path.relpath(file, tmp_path) for file in files] == ["flows/a.py", "flows/x/y/b.py", "one.py"]


def test_project_is_a_folder_or_a_file_or_the_nearest_folder_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        tmp_path,
        {
            "pyproject.toml": '[project]\nname = "mine"\n[tool.ostinato.project]\npool = "gpu"\n',
            "a/b/c.py": FLOW.format(name="c"),
        },
    )
    whole = find_project(tmp_path)
    assert (whole.name, whole.root, whole.pool) == ("mine", str(tmp_path), "gpu")
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert find_project() == whole
    file = find_project("c.py")
    assert (file.name, file.root, file.modules) == ("c", str(tmp_path / "a" / "b"), ["c.py"])
    assert [item.pool for item in look(tmp_path).deployed] == ["gpu"]
    with pytest.raises(TargetError, match="no folder and no Python file .*nowhere"):
        find_project("nowhere")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (
            'module = ["x"]',
            "has no key 'module'; it has name, modules, exclude, pool, environment. Did you mean 'modules'",
        ),
        ('name = "a b"', "name must be a name of letters"),
        ("modules = 3", "expected `array`, got `int`"),
        ('environment = "conda"', "does not fit"),
    ],
)
def test_project_refuses_keys_and_values_that_it_does_not_know(tmp_path: Path, table: str, says: str) -> None:
    write(tmp_path, {"pyproject.toml": f"[tool.ostinato.project]\n{table}\n"})
    with pytest.raises(SettingError, match=says):
        find_project(tmp_path)


def test_settings_leave_the_projects_table_alone_and_offer_it(tmp_path: Path) -> None:
    write(tmp_path, {"pyproject.toml": '[tool.ostinato]\nlease = 9\n[tool.ostinato.project]\nname = "x"\n'})
    assert load_settings({}, tmp_path).lease == 9
    write(tmp_path, {"pyproject.toml": '[tool.ostinato.projct]\nname = "longer"\n'})
    with pytest.raises(SettingError, match="Did you mean 'project'"):
        load_settings({}, tmp_path)
