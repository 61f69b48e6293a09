"""What a cache key promises: the same where the result may be shared, and never where it may not."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

from ostinato.caching import Cache, CacheContext, KeyPolicy, flow, inputs, parameters, source
from ostinato.errors import DefinitionError
from ostinato.fingerprint import fingerprint


def context(**changes: Any) -> CacheContext:
    values: dict[str, Any] = {
        "task": "weather.fetch",
        "inputs": {"city": "Oslo", "logger": "a"},
        "parameters": {"day": 1},
        "code": "c0de",
        "flow": "weather",
    }
    return CacheContext(**(values | changes))


@pytest.mark.parametrize(
    ("policy", "changes", "seen"),
    [
        (inputs, {"inputs": {"city": "Lima", "logger": "a"}}, True),
        (inputs, {"inputs": {"town": "Oslo", "logger": "a"}}, True),
        (inputs, {"task": "weather.other"}, True),
        (inputs, {"code": "else"}, False),
        (inputs, {"parameters": {"day": 2}}, False),
        (inputs, {"flow": "other"}, False),
        (inputs + source, {"code": "else"}, True),
        (inputs + parameters, {"parameters": {"day": 2}}, True),
        (inputs + parameters, {"flow": "other"}, False),
        (source + flow, {"flow": "other"}, True),
        (source + flow, {"inputs": {}}, False),
        (inputs - "logger", {"inputs": {"city": "Oslo", "logger": "b"}}, False),
        (inputs - "logger", {"inputs": {"city": "Lima", "logger": "a"}}, True),
        (inputs + source - "logger", {"inputs": {"city": "Oslo"}}, False),
        (inputs - ("logger", "city"), {"inputs": {}}, False),
        (parameters - "day", {"parameters": {}}, False),
        (inputs + source - source, {"code": "else"}, False),
        (inputs + (lambda c: c.flow), {"flow": "other"}, True),
        ((lambda c: c.flow) + inputs, {"inputs": {}}, True),
    ],
)
def test_key_changes_with_what_the_policy_names(policy: KeyPolicy, changes: dict[str, Any], *, seen: bool) -> None:
    before, after = policy.compute(context()), policy.compute(context(**changes))
    assert before is not None
    assert len(before) == 32
    assert (before != after) == seen


def test_key_does_not_depend_on_the_order_of_arguments_or_of_policies_own_fields() -> None:
    assert inputs.compute(context(inputs={"a": 1, "b": 2})) == inputs.compute(context(inputs={"b": 2, "a": 1}))


def test_key_keeps_inputs_and_parameters_apart() -> None:
    both = inputs + parameters
    one = both.compute(context(inputs={"a": 1}, parameters={}))
    assert one != both.compute(context(inputs={}, parameters={"a": 1}))


def test_fingerprint_that_is_known_stands_for_the_value() -> None:
    known = inputs.compute(context(inputs={"city": fingerprint("Oslo"), "logger": "a"}))
    assert known == inputs.compute(context())


def test_opaque_input_means_no_caching_and_the_reason_names_it() -> None:
    key = inputs.resolve(context(inputs={"city": "Oslo", "client": [threading.Lock()]}))
    assert key.value is None
    assert "'client'" in (key.reason or "")
    assert inputs.compute(context(inputs={"client": fingerprint(threading.Lock())})) is None


def test_opaque_input_that_is_left_out_is_no_hindrance() -> None:
    found = (inputs - "client").compute(context(inputs={"city": "Oslo", "client": threading.Lock()}))
    assert found == (inputs - "client").compute(context(inputs={"city": "Oslo"}))
    assert found is not None


@pytest.mark.parametrize(("policy", "missing"), [(source, "code"), (flow, "flow")])
def test_unknown_code_or_flow_means_no_caching(policy: KeyPolicy, missing: str) -> None:
    key = policy.resolve(context(**{missing: None}))
    assert key.value is None
    assert missing in (key.reason or "")


def test_own_function_makes_the_key_or_refuses() -> None:
    own = Cache(key=lambda c: c.inputs["city"])
    assert own.policy.compute(context()) == own.policy.compute(context(inputs={"city": "Oslo"}))
    assert own.policy.compute(context()) != own.policy.compute(context(task="another"))
    assert Cache(key=lambda _: None).policy.compute(context()) is None


def test_own_function_that_returns_no_str_is_told_so() -> None:
    with pytest.raises(DefinitionError, match="must return a str or None, it returned 3"):
        Cache(key=lambda _: 3).policy.compute(context())  # type: ignore[arg-type, return-value]


def test_leaving_out_an_unknown_argument_is_found_at_definition() -> None:
    policy = inputs + source - "loger"
    with pytest.raises(
        DefinitionError, match=r"leaves out 'loger'.*its arguments are city, logger\. Did you mean 'logger'\?"
    ):
        policy.check(["city", "logger"])
    (inputs + source - "logger").check(["city", "logger"])
    (parameters - "anything").check([])


@pytest.mark.parametrize(
    "make", [lambda: source - "x", lambda: inputs - source, lambda: inputs - inputs, lambda: flow - ["a"]]
)
def test_subtracting_what_is_not_there_is_refused(make: Any) -> None:
    with pytest.raises(DefinitionError):
        make()


def test_adding_policies_leaves_out_only_what_both_do() -> None:
    assert repr((inputs - "a" - "b") + (inputs - "b")) == "inputs - 'b'"
    assert repr(inputs + source - "logger") == "(inputs - 'logger') + source"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": "inputs"}, "policy such as `inputs"),
        ({"expires": 3600}, "expected a timedelta"),
        ({"expires": timedelta(0)}, "longer than nothing"),
    ],
)
def test_cache_options_that_cannot_work_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        Cache(**options)
