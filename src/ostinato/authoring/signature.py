"""How decorated functions are typed: the user's own signature, and futures where its values stand.

A checker has to see three things at once: the signature as written, a future where a value may stand, and still
an error for a wrong one. The `ParamSpec` P gives the first. For the others `self` is annotated with a protocol
that takes the leading parameters off the wrapped function, so that they can be named again as "a value or a
future of one":

    fn: (city: str, days: int = 1) -> T      as the user wrote it: P
         `-- A --'  `---- Q ----'
    self: Takes[A, Q]   makes callable with   (Future[A], *Q)

``self: Task[[A], R]`` would say the same, but mypy finds no ``A`` through it; through the property `fn` it does.
P always comes first, so that plain values are checked, completed and shown as for the undecorated function. The
record is ``docs/adr/0002-typing.md``; ``typing_tests/`` holds what must check and what must be refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeAlias, TypeVar, overload

from ostinato.future import Future, Results

P = ParamSpec("P")
Q = ParamSpec("Q")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
K = TypeVar("K")
R = TypeVar("R")
A_contra = TypeVar("A_contra", contravariant=True)
B_contra = TypeVar("B_contra", contravariant=True)
C_contra = TypeVar("C_contra", contravariant=True)
T_co = TypeVar("T_co", covariant=True)


class Takes(Protocol[A_contra, Q]):
    """Match what has a first parameter."""

    @property
    def fn(self) -> Callable[Concatenate[A_contra, Q], object]:
        """The function."""
        ...


class Takes2(Protocol[A_contra, B_contra, Q]):
    """Match what has two parameters."""

    @property
    def fn(self) -> Callable[Concatenate[A_contra, B_contra, Q], object]:
        """The function."""
        ...


class Takes3(Protocol[A_contra, B_contra, C_contra, Q]):
    """Match what has three parameters."""

    @property
    def fn(self) -> Callable[Concatenate[A_contra, B_contra, C_contra, Q], object]:
        """The function."""
        ...


Each: TypeAlias = Iterable[A | Future[A]] | Future[Iterable[A]]


class Signature(Generic[P, T_co]):
    """Be called as the user's function, with futures too, and return `T_co`."""

    __slots__ = ()

    @property
    def fn(self) -> Callable[P, object]:
        """The user's function."""
        raise NotImplementedError

    @overload
    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> T_co: ...
    # A list is invariant, and mypy does not look for a literal in a union: two overloads each.
    @overload
    def __call__(self: Takes[list[A], Q], a: list[Future[A]], /, *args: Q.args, **kwargs: Q.kwargs) -> T_co: ...
    @overload
    def __call__(self: Takes[list[A], Q], a: list[A | Future[A]], /, *args: Q.args, **kwargs: Q.kwargs) -> T_co: ...
    @overload
    def __call__(self: Takes[dict[K, A], Q], a: dict[K, Future[A]], /, *args: Q.args, **kwargs: Q.kwargs) -> T_co: ...
    @overload
    def __call__(
        self: Takes[dict[K, A], Q],
        a: dict[K, A | Future[A]],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> T_co: ...
    # Last, because pyright explains a refusal by the last overload that came near.
    @overload
    def __call__(self: Takes[A, Q], a: A | Future[A], /, *args: Q.args, **kwargs: Q.kwargs) -> T_co: ...
    @overload
    def __call__(
        self: Takes2[A, B, Q],
        a: A | Future[A],
        b: B | Future[B],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> T_co: ...
    @overload
    def __call__(
        self: Takes3[A, B, C, Q],
        a: A | Future[A],
        b: B | Future[B],
        c: C | Future[C],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> T_co: ...
    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call it."""
        raise NotImplementedError


class Mapped(Generic[P, R]):
    """Be called with iterables by position, and with values by position or keyword."""

    __slots__ = ()

    @property
    def fn(self) -> Callable[P, object]:
        """The user's function."""
        raise NotImplementedError

    @overload
    def __call__(self: Takes[A, Q], a: Each[A], /, *args: Q.args, **kwargs: Q.kwargs) -> Results[R]: ...
    @overload
    def __call__(
        self: Takes2[A, B, Q], a: A | Each[A], b: Each[B], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Results[R]: ...
    @overload
    def __call__(
        self: Takes3[A, B, C, Q],
        a: A | Each[A],
        b: B | Each[B],
        c: Each[C],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> Results[R]: ...
    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call it."""
        raise NotImplementedError
