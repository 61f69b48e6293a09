"""The options that say where work is carried out, and what it takes."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from ostinato import Deployment, OutOfMemory, Resources, Retry, flow, task
from ostinato.errors import DefinitionError, ParameterError


@task(pool="gpu", resources=Resources(gpu=1))
def train(n: int) -> int:
    return n


@flow(pool="big", queue="night", resources=Resources(memory="2GiB"), code="pinned", cold=True)
def heavy(n: int = 1) -> int:
    """Train heavily."""
    return train(n)


def test_options_of_a_task_say_where_it_runs_and_what_it_takes() -> None:
    assert train.options.pool == "gpu"
    assert train.options.resources == Resources(gpu=1)
    here = train.with_options(pool=None, resources=None)
    assert (here.options.pool, here.options.resources) == (None, None)
    assert train.options.pool == "gpu"
    assert task(lambda: 1).options.pool is None


def test_options_of_a_flow_say_where_it_runs_and_with_which_source() -> None:
    options = heavy.options
    assert (options.pool, options.queue, options.code, options.cold) == ("big", "night", "pinned", True)
    assert options.resources is not None
    assert options.resources.amounts == {"memory": 2 * 2**30}
    other = heavy.with_options(pool="small", code="latest", cold=False)
    assert (other.options.pool, other.options.queue, other.options.code, other.options.cold) == (
        "small",
        "night",
        "latest",
        False,
    )
    plain = flow(lambda: 1).options
    assert (plain.pool, plain.queue, plain.resources, plain.code, plain.cold) == (None, None, None, "latest", False)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"pool": "a b"}, "pool must be a name of letters"),
        ({"pool": 3}, "got 3"),
        ({"resources": {"cpu": 1}}, "resources must be Resources"),
        ({"resources": "2GiB"}, "For example resources=Resources"),
    ],
)
def test_options_that_make_no_sense_are_refused_with_what_was_expected(given: dict[str, Any], says: str) -> None:
    for make in (task, flow):
        with pytest.raises(DefinitionError, match=says):
            make(**given)
    with pytest.raises(DefinitionError, match=says):
        train.with_options(**given)


def test_options_of_a_flow_that_make_no_sense_are_refused() -> None:
    with pytest.raises(DefinitionError, match='code must be "latest" or "pinned", got \'newest\''):
        flow(code="newest")  # type: ignore[call-overload]
    with pytest.raises(DefinitionError, match="queue must be a name"):
        flow(queue="")
    with pytest.raises(DefinitionError, match="Did you mean 'resources'"):
        flow(resource=Resources())  # type: ignore[call-overload]


def test_options_survive_a_pickle() -> None:
    assert pickle.loads(pickle.dumps(heavy.options)) == heavy.options
    assert pickle.loads(pickle.dumps(train.options)) == train.options


def test_retry_out_of_memory_says_how_often_and_with_how_many_times_the_memory() -> None:
    assert Retry(on=OutOfMemory, memory=2.0).on_out_of_memory == {"times": 1, "memory": 2.0}
    assert Retry(3, on=(OSError, OutOfMemory), memory=1.5).on_out_of_memory == {"times": 3, "memory": 1.5}
    assert Retry(2).on_out_of_memory == {"times": 2, "memory": 1.0}
    assert Retry(2, on=MemoryError).on_out_of_memory == {"times": 2, "memory": 1.0}
    assert Retry(2, on=OSError).on_out_of_memory is None
    assert Retry(0).on_out_of_memory is None


@pytest.mark.parametrize("memory", [0.5, 0, 101, "2"])
def test_retry_refuses_a_memory_that_makes_no_sense(memory: Any) -> None:
    with pytest.raises(DefinitionError, match=r"Retry\(memory=...\) must be 1 to 100"):
        Retry(memory=memory)


def test_deployment_has_the_flows_name_or_a_variant_of_it() -> None:
    assert Deployment(heavy).full_name == "heavy"
    assert Deployment(heavy, name="nightly").full_name == "heavy/nightly"
    assert repr(Deployment(heavy, "nightly")) == "<Deployment heavy/nightly>"


def test_deployment_checks_and_converts_its_parameters() -> None:
    given: dict[str, Any] = {"n": "3"}
    nightly = Deployment(heavy, "nightly", given)
    given["n"] = "4"
    assert nightly.parameters == {"n": 3}
    with pytest.raises(ParameterError, match="n: .*valid integer") as refused:
        Deployment(heavy, "nightly", {"n": "x"})
    assert set(refused.value.fields) == {"n"}
    with pytest.raises(ParameterError, match="numbr: is no parameter; sized takes number. Did you mean 'number'"):
        Deployment(sized, parameters={"numbr": 3})


@flow
def sized(number: int) -> int:
    return number


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"name": "a/b"}, "must be a name"),
        ({"priority": 500}, "-499 to 499, got 500"),
        ({"priority": True}, "whole number"),
        ({"pool": "a b"}, "pool must be a name"),
        ({"resources": 2}, "resources must be Resources"),
        ({"tags": [1]}, "tags must be"),
    ],
)
def test_deployment_refuses_values_that_make_no_sense(given: dict[str, Any], says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        Deployment(heavy, **given)


def test_deployment_refuses_what_is_no_flow() -> None:
    with pytest.raises(DefinitionError, match="takes a flow, got <Task"):
        Deployment(train)  # type: ignore[arg-type]


def test_deployment_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Deployment(heavy).priority = 3  # type: ignore[misc]
