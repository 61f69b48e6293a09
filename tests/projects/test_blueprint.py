"""The blueprint of a flow, read from its syntax tree."""

from __future__ import annotations

import asyncio
import functools
import json
import linecache
import re
import sys
import types
from typing import Any

from ostinato import Retry, flow, task
from ostinato.authoring.blueprint import blueprint_of


@task
def fetch(city: Any, other: Any = None) -> Any: ...
@task(name="wide.combine")
def combine(rows: Any) -> Any: ...
@flow
def child(n: Any = 1) -> Any: ...


quick = fetch.with_options(retry=Retry(3))


class Steps:
    fetch = fetch


tools = types.ModuleType("tools")
tools.fetch = fetch  # type: ignore[attr-defined]
sys.modules["blueprint_tools"] = tools


def nodes(made: Any) -> list[str]:
    """The ids of a blueprint's nodes."""
    return [node["id"] for node in blueprint_of(made)["nodes"]]


def edges(made: Any) -> set[tuple[str, str, str | None]]:
    return {(edge["from"], edge["to"], edge["by"]) for edge in blueprint_of(made)["edges"]}


def node(made: Any, one: str) -> dict[str, Any]:
    found: dict[str, Any] = next(item for item in blueprint_of(made)["nodes"] if item["id"] == one)
    return found


def test_blueprint_shows_calls_submits_maps_and_child_flows_with_their_lines() -> None:
    @flow
    def body(cities: Any) -> Any:
        one = fetch("Oslo")
        two = fetch.submit(one)
        three = fetch.map(cities)
        four = child(two)
        five = child.start(n=three)  # type: ignore[attr-defined]
        print(len(cities))
        return combine([four, five])

    shown = blueprint_of(body)
    assert shown["version"] == 1
    assert shown["complete"]
    assert [(n["kind"], n["label"], n.get("how"), n["line"] - shown["first"]) for n in shown["nodes"]] == [
        ("task", "fetch", "call", 2),
        ("task", "fetch", "submit", 3),
        ("task", "fetch", "map", 4),
        ("flow", "child", "call", 5),
        ("flow", "child", "start", 6),
        ("task", "combine", "call", 8),
        ("return", "combine([four, five])", None, 8),
    ]
    assert node(body, "combine#1")["key"] == "wide.combine"
    assert node(body, "fetch#1")["key"] == "test_blueprint.fetch"
    assert shown["last"] - shown["first"] == 8
    assert edges(body) == {
        ("fetch#1", "fetch#2", "one"),
        ("fetch#2", "child#1", "two"),
        ("fetch#3", "child#2", "three"),
        ("child#1", "combine#1", None),
        ("child#2", "combine#1", None),
        ("combine#1", "return#1", None),
    }
    json.dumps(shown)


def test_blueprint_resolves_names_wherever_they_come_from() -> None:
    inner = fetch

    @flow
    def body() -> None:
        from blueprint_tools import fetch as imported

        local = fetch.with_options(timeout=3)
        again = local
        quick(1)
        inner(2)
        Steps.fetch(3)
        tools.fetch(4)
        imported(5)
        again.submit(6)
        fetch.with_options(retry=1).map([7])

    assert nodes(body) == [f"fetch#{n}" for n in range(1, 8)]
    assert [item["how"] for item in blueprint_of(body)["nodes"]] == ["call"] * 5 + ["submit", "map"]


def test_blueprint_ignores_what_hides_a_task_and_what_could_run_code() -> None:
    class Loud:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(name)

    loud = Loud()

    @flow
    def body(combine: Any) -> None:
        fetch = print
        fetch(1)
        combine(2)
        loud.fetch(3)
        missing(4)  # type: ignore[name-defined]  # noqa: F821

    assert nodes(body) == []


def test_blueprint_shows_branches_with_the_text_of_their_condition() -> None:
    @flow
    def body(n: int) -> Any:
        size = fetch(n)
        if size > 3:
            rows = fetch("big")
        elif n:
            rows = child(n)
        else:
            rows = None
        return combine(rows)

    assert nodes(body) == [
        "fetch#1",
        "if#1",
        "if#1.then.fetch#1",
        "if#1.else.if#1",
        "if#1.else.if#1.then.child#1",
        "combine#1",
        "return#1",
    ]
    assert node(body, "if#1")["label"] == "size > 3"
    assert node(body, "if#1.else.if#1.then.child#1")["arm"] == "then"
    assert ("fetch#1", "if#1", None) in edges(body)
    assert {("if#1.then.fetch#1", "combine#1", "rows"), ("if#1.else.if#1.then.child#1", "combine#1", "rows")} <= edges(
        body
    )


def test_blueprint_shows_loops_and_comprehensions_of_submits() -> None:
    @flow
    def body(cities: Any) -> Any:
        futures = [fetch.submit(city) for city in cities if city]
        table = {name: fetch(name) for name in futures}
        out = []
        for row in futures:
            out.append(combine(row))  # noqa: PERF401
        while out:
            child(out)
        return out, table, [x for x in cities if x]

    assert nodes(body) == [
        "for#1",
        "for#1.body.fetch#1",
        "for#2",
        "for#2.body.fetch#1",
        "for#3",
        "for#3.body.combine#1",
        "while#1",
        "while#1.body.child#1",
        "return#1",
    ]
    assert node(body, "for#1")["label"] == "city in cities"
    found = edges(body)
    assert ("for#1.body.fetch#1", "for#2.body.fetch#1", "name") in found
    assert ("for#1.body.fetch#1", "for#3.body.combine#1", "row") in found
    assert ("for#3.body.combine#1", "while#1.body.child#1", "out") in found
    assert ("for#2.body.fetch#1", "return#1", None) in found


def test_blueprint_shows_try_and_with() -> None:
    @flow
    def body() -> None:
        try:
            row = fetch(1)
        except (ValueError, OSError) as error:
            fetch(error)
        except TypeError:
            fetch(2)
        else:
            combine(row)
        finally:
            child()
        with asyncio.Lock(), fetch(3) as got:
            combine(got)

    assert nodes(body) == [
        "try#1",
        "try#1.body.fetch#1",
        "try#1.except2.fetch#1",
        "try#1.except3.fetch#1",
        "try#1.else.combine#1",
        "try#1.finally.child#1",
        "fetch#1",
        "with#1",
        "with#1.body.combine#1",
    ]
    assert node(body, "try#1.except2.fetch#1")["arm"] == "except (ValueError, OSError)"
    assert ("try#1.body.fetch#1", "try#1.else.combine#1", "row") in edges(body)
    assert ("fetch#1", "with#1.body.combine#1", "got") in edges(body)


def test_blueprint_takes_an_async_gather_apart() -> None:
    @flow
    async def body() -> Any:
        one, two = await asyncio.gather(fetch(1), child(2))
        rest = await asyncio.gather(*[fetch(n) for n in range(3)])
        async with asyncio.TaskGroup() as group:
            made = group.create_task(fetch(one))
        return combine(two), rest, made

    found = edges(body)
    assert ("fetch#1", "with#1.body.fetch#1", "one") in found
    assert ("child#1", "combine#1", "two") in found
    assert ("fetch#1", "combine#1", "two") not in found
    assert ("for#1.body.fetch#1", "return#1", None) in found
    assert ("with#1.body.fetch#1", "return#1", None) in found


def test_blueprint_understands_walrus_match_lambda_and_choices() -> None:
    @flow
    def body(n: Any) -> Any:
        if (row := fetch(n)) is not None:
            combine(row)
        match row:
            case {"kind": "big", **rest} if rest:
                child(rest)
            case [first, *_]:
                fetch(first)
            case _:
                pass
        later = sorted(n, key=lambda x: fetch(x)[0])
        return later, (fetch(1) if row else child(2))

    assert nodes(body) == [
        "fetch#1",
        "if#1",
        "if#1.then.combine#1",
        "match#1",
        "match#1.case1.child#1",
        "match#1.case2.fetch#1",
        "fetch#2",
        "if#2",
        "if#2.then.fetch#1",
        "if#2.else.child#1",
        "return#1",
    ]
    assert node(body, "match#1.case1.child#1")["arm"] == "case {'kind': 'big', **rest} if rest"
    found = edges(body)
    assert ("fetch#1", "if#1.then.combine#1", "row") in found
    assert ("fetch#1", "match#1.case1.child#1", "rest") in found
    assert ("fetch#1", "match#1.case2.fetch#1", "first") in found


def test_blueprint_looks_into_nested_functions_and_tasks_made_inside() -> None:
    @flow
    def body(n: Any) -> Any:
        def both(city: Any) -> Any:
            return combine(fetch(city))

        @task(name="own")
        def made(x: Any) -> Any:
            return x

        @task
        def plain(x: Any) -> Any:
            return x

        return made(both(n)), plain(1)

    assert nodes(body) == [
        "both#1",
        "both#1.body.fetch#1",
        "both#1.body.combine#1",
        "both#1.body.return#1",
        "own#1",
        "plain#1",
        "return#1",
    ]
    assert ("both#1.body.combine#1", "own#1", None) in edges(body)
    assert node(body, "own#1")["key"] == "own"
    key = node(body, "plain#1")["key"]
    assert re.fullmatch(r"test_blueprint\.test_blueprint_looks_into.*\.body\.plain", key)


def test_blueprint_shows_where_a_body_waits() -> None:
    @flow
    def body() -> Any:
        future = fetch.submit(1)
        future.result()
        print("a".join("b"))
        combine.with_options(wait_for=[future])(1)
        return future.result()

    assert nodes(body) == ["fetch#1", "wait#1", "combine#1", "return#1"]
    assert {("fetch#1", "wait#1", None), ("fetch#1", "combine#1", None), ("fetch#1", "return#1", None)} <= edges(body)


def test_blueprint_keeps_its_ids_when_lines_move() -> None:
    space: dict[str, Any] = {"flow": flow, "fetch": fetch}
    text = "def body(n):\n    for x in n:\n        fetch(x)\n    return fetch(1)\n"
    shown = []
    for name, source in (("<one>", text), ("<two>", text.replace("\n", "\n\n"))):
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        exec(compile(source, name, "exec"), space)
        shown.append(blueprint_of(flow(space["body"])))
    one, two = ([item["id"] for item in blueprint["nodes"]] for blueprint in shown)
    assert one == two == ["for#1", "for#1.body.fetch#1", "fetch#1", "return#1"]
    assert shown[0]["nodes"][-1]["line"] != shown[1]["nodes"][-1]["line"]


def test_blueprint_of_what_has_no_source_says_so() -> None:
    space: dict[str, Any] = {}
    exec("def body(): pass", space)
    shown = blueprint_of(flow(space["body"]))
    assert (shown["complete"], shown["nodes"], shown["edges"]) == (False, [], [])
    assert not blueprint_of(flow(lambda: 1))["complete"]


def test_blueprint_of_an_endless_expression_shows_what_it_could() -> None:
    source = f"def body():\n    fetch(1)\n    return {'+'.join(['1'] * 1500)}\n"
    linecache.cache["<deep>"] = (len(source), None, source.splitlines(keepends=True), "<deep>")
    space: dict[str, Any] = {"fetch": fetch}
    code = compile("def body(): ...", "<deep>", "exec")
    exec(code, space)
    shown = blueprint_of(flow(space["body"]))
    assert not shown["complete"]
    assert [item["id"] for item in shown["nodes"]] == ["fetch#1"]


def test_blueprint_looks_through_decorators() -> None:
    def loud(function: Any) -> Any:
        @functools.wraps(function)
        def wrapped(*args: Any) -> Any:
            return function(*args)

        return wrapped

    @flow
    @loud
    def body() -> None:
        fetch(1)

    assert nodes(body) == ["fetch#1"]
