"""Files that are read once for all that look at them, in a command or a call that looks more than once.

Outside of `once` every reading reads, as a file may have changed. No NumPy: most configurations name no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec

if TYPE_CHECKING:
    import numpy as np

Arguments = ParamSpec("Arguments")
_found: ContextVar[dict[object, tuple[np.ndarray, np.ndarray]] | None] = ContextVar("_found", default=None)


@contextmanager
def once() -> Iterator[None]:
    """What readers give is kept until this ends; within another `once`, until that one ends."""
    if _found.get() is not None:
        yield
        return
    token = _found.set({})
    try:
        yield
    finally:
        _found.reset(token)


def kept(
    read: Callable[Arguments, tuple[np.ndarray, np.ndarray]],
) -> Callable[Arguments, tuple[np.ndarray, np.ndarray]]:
    """A reader whose arrays `once` keeps, by its arguments. They are shared, so nobody may write into them."""

    @wraps(read)
    def reading(*args: Arguments.args, **kwargs: Arguments.kwargs) -> tuple[np.ndarray, np.ndarray]:
        found, asked = _found.get(), (read, args, *sorted(kwargs.items()))
        if found is None:
            return read(*args, **kwargs)
        if asked not in found:
            found[asked] = read(*args, **kwargs)
            for values in found[asked]:
                values.setflags(write=False)
        return found[asked]

    return reading
