"""What encoding an exception promises: it never fails, and `except` still catches it."""

from __future__ import annotations

import sys
import threading
import types

import msgspec
import pydantic
import pytest

from ostinato.errors import ParameterError, TaskFailedError
from ostinato.io.serializers import decode_error, describe, encode_error


class NeedsKeywordsError(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class HoldsError(ConnectionError):
    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()
        self.host = "a"


class HostileError(Exception):
    def __str__(self) -> str:
        raise RuntimeError

    def __reduce__(self) -> str:
        raise RuntimeError


class ChangesError(Exception):
    """Unpickles, but as something else."""

    def __init__(self, a: int, b: int = 0) -> None:
        super().__init__(f"{a} and {b}")


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause  # noqa: TRY301
    except BaseException as caught:
        return caught


def validation() -> BaseException:
    class Model(pydantic.BaseModel):
        x: int

    try:
        Model(x="a")
    except pydantic.ValidationError as error:
        return error
    raise AssertionError


ERRORS = [
    ConnectionError("no route", 1),
    FileNotFoundError(2, "not there", "file"),
    KeyError("a"),
    ValueError(),
    UnicodeDecodeError("utf-8", b"a", 0, 1, "why"),
    ImportError("no", name="x", path="y"),
    SystemExit(3),
    KeyboardInterrupt(),
    StopIteration(4),
    SyntaxError("bad", ("f.py", 1, 2, "text")),
    NeedsKeywordsError(code=3),
    HoldsError("lost"),
    ChangesError(1, 2),
    ParameterError("refused", {"a": "b"}),
    validation(),
    ExceptionGroup("some", [ValueError(1), NeedsKeywordsError(code=2), ExceptionGroup("inner", [KeyError("x")])]),
    BaseExceptionGroup("all", [KeyboardInterrupt()]),
    ValueError("x" * 1_000_000),
    ValueError("\ud800"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_exception_comes_back_as_its_own_class_with_its_message(error: BaseException) -> None:
    again = decode_error(encode_error(raised(error)))
    assert type(again) is type(error)
    assert str(again)[:10_000] == str(error)[:10_000] or "\ud800" in str(error)


def test_attributes_come_back_as_far_as_they_pickle() -> None:
    again = decode_error(encode_error(HoldsError("lost")))
    assert again.host == "a"
    assert not hasattr(again, "lock")
    assert decode_error(encode_error(NeedsKeywordsError(code=3))).code == 3
    assert decode_error(encode_error(ParameterError("refused", {"a": "b"}))).fields == {"a": "b"}
    assert decode_error(encode_error(FileNotFoundError(2, "no", "file"))).filename == "file"


def test_notes_and_causes_come_back() -> None:
    error = raised(ValueError("a"), raised(HoldsError("b"), KeyError("c")))
    error.add_note("seen at noon")
    again = decode_error(encode_error(error))
    assert again.__notes__ == ["seen at noon"]
    assert isinstance(again.__cause__, HoldsError)
    assert isinstance(again.__cause__.__cause__, KeyError)
    assert again.__suppress_context__


def test_group_is_caught_by_its_members() -> None:
    caught = []
    try:
        raise decode_error(encode_error(ERRORS[15]))
    except* NeedsKeywordsError as group:
        caught += group.exceptions
    except* (ValueError, KeyError):
        pass
    assert [error.code for error in caught] == [2]


@pytest.mark.parametrize(
    "error", [HostileError(), type("Local", (Exception,), {})("a"), raised(HostileError(), HostileError())]
)
def test_exception_that_cannot_be_rebuilt_fails_nothing(error: BaseException) -> None:
    again = decode_error(encode_error(error))
    assert isinstance(again, (TaskFailedError, HostileError))


def test_exception_whose_class_is_gone_is_a_task_failed_error() -> None:
    module = types.ModuleType("soon_gone")
    exec("class Lost(Exception): pass", module.__dict__)
    sys.modules["soon_gone"] = module
    error = module.Lost("why")
    error.add_note("a note")
    data = encode_error(error)
    del sys.modules["soon_gone"]
    again = decode_error(data)
    assert type(again) is TaskFailedError
    assert str(again) == "soon_gone.Lost: why"
    assert again.__notes__ == ["a note"]


def test_circle_of_causes_ends() -> None:
    one, two = ValueError(1), ValueError(2)
    one.__cause__, two.__cause__ = two, one
    assert isinstance(decode_error(encode_error(one)), ValueError)


@pytest.mark.parametrize(
    "data", [b"", b"e", b"p", b"e\x00", b"e" + msgspec.msgpack.encode(["a", "b", [], b"\x80junk"])]
)
def test_damaged_record_is_a_task_failed_error(data: bytes) -> None:
    assert isinstance(decode_error(data), TaskFailedError)


def test_description_names_class_and_message() -> None:
    assert describe(encode_error(ConnectionError("no route"))) == "<error, ConnectionError: no route>"
