"""Frozen dataclasses that JAX traverses, with unit and shape of every array as field metadata."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

T = TypeVar("T")


def quantity(unit: str, shape: str = "", doc: str = "") -> Any:
    """An array leaf. `unit` as in HDF5 attributes ("1" = none), `shape` in words, "" for a scalar."""
    return dataclasses.field(metadata={"unit": unit, "shape": shape, "doc": doc})


def as_array(values: object) -> jax.Array:
    """As an array of JAX's default float type (float64 under --x64). NumPy converts what is known: JAX would compile a
    program for each shape."""
    dtype = jnp.result_type(float)
    known = not any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(values))
    return jnp.asarray(np.asarray(values, dtype) if known else values, dtype)


def stacked(trees: Sequence[Any]) -> Any:
    """Trees of arrays with a new leading axis, on the host, where nothing is compiled for it."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def static() -> Any:
    """A hashable field that is part of the structure, not of the data: a change of it compiles anew."""
    return dataclasses.field(metadata={"static": True})


@dataclass_transform(frozen_default=True, field_specifiers=(quantity, static))
def struct(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass and a pytree; fields made by `static()` are its structure."""
    frozen = dataclasses.dataclass(frozen=True)(cls)
    return jax.tree_util.register_dataclass(frozen)
