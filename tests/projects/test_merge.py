"""Last good definitions: what a newer look at a project keeps, replaces and removes."""

from __future__ import annotations

from typing import Any

import msgspec

from ostinato.authoring.manifest import merge
from ostinato.work import Deployed


def item(name: str, file: str, **more: Any) -> Deployed:
    options = msgspec.json.encode({"file": file}).decode()
    return Deployed(name=name, flow=name, project="p", target=f"/root/{file}:{name}", options=options, **more)


def test_merge_keeps_what_a_broken_file_defined_and_says_why() -> None:
    merged = merge([item("a", "a.py"), item("b", "b.py")], [item("b", "b.py")], {"a.py": "Traceback …"})
    assert [(one.name, one.broken) for one in merged.deployed] == [("a", "Traceback …"), ("b", None)]
    assert (merged.broken, merged.removed, merged.changed) == (["a"], [], ["a"])


def test_merge_takes_a_mended_definition() -> None:
    merged = merge([item("a", "a.py", broken="Traceback …")], [item("a", "a.py")], {})
    assert [one.broken for one in merged.deployed] == [None]
    assert merged.changed == ["a"]


def test_merge_removes_what_is_really_gone() -> None:
    merged = merge([item("a", "a.py"), item("b", "b.py")], [item("b", "b.py")], {"c.py": "Traceback …"})
    assert [one.name for one in merged.deployed] == ["b"]
    assert merged.removed == ["a"]


def test_merge_takes_a_flow_that_has_moved_away_from_a_broken_file() -> None:
    merged = merge([item("a", "a.py")], [item("a", "b.py")], {"a.py": "Traceback …"})
    assert [(one.target, one.broken) for one in merged.deployed] == [("/root/b.py:a", None)]


def test_merge_replaces_what_another_error_says_of_a_file_that_stays_broken() -> None:
    merged = merge([item("a", "a.py", broken="old")], [], {"a.py": "new"})
    assert [one.broken for one in merged.deployed] == ["new"]
    assert merged.is_new


def test_merge_finds_nothing_new_where_only_the_stores_own_fields_differ() -> None:
    merged = merge([item("a", "a.py", paused=True, updated_at=5)], [item("a", "a.py")], {})
    assert not merged.is_new
    assert merge([], [], {}).deployed == []


def test_merge_tells_what_is_added_and_changed() -> None:
    merged = merge([item("a", "a.py")], [item("a", "a.py", tags=["x"]), item("b", "b.py")], {})
    assert (merged.added, merged.changed, merged.removed) == (["b"], ["a"], [])
