"""What every table of a configuration shares: strictness, and keys that carry unit, range and source of their default.

Pure pydantic: nothing here imports JAX or NumPy, so a bad file is refused within a fraction of a second.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

IDEAL = "ideal part: the effect is left out"
PROGRAM = "choice of this program"


class Table(BaseModel):
    """Base of every table: immutable, strict types, no unknown keys, no NaN or infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, defer_build=True)


def key(doc: str, default: Any = ..., *, unit: str = "", source: str = "", **bounds: Any) -> Any:
    """One configuration key: what it means, its unit, its default and where that default comes from."""
    extra: dict[str, Any] = {name: text for name, text in (("unit", unit), ("source", source)) if text}
    return Field(default, description=doc, json_schema_extra=extra or None, **bounds)


T = TypeVar("T")
Some = Annotated[tuple[T, ...], Field(strict=False)]  # a TOML list

# What texts take, in words too. Terminals, formats and paths may take a control character for an order.
NAME, LINE, ADDRESS = r"^[^\s./\[\]\"'\x00-\x1f\x7f-\x9f]+$", r"^[^\x00-\x1f\x7f-\x9f]*$", r"^[a-z]+://\S+$"
PATTERNS = {
    NAME: "1 to 64 characters without space, dot, slash, bracket, quote or control character",
    LINE: "one line of text without control characters",
    ADDRESS: "like tcp://HOST:PORT",
}
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=NAME)]
Line = Annotated[str, Field(pattern=LINE)]
