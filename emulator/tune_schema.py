"""The table [tune]: what to tune between which bounds, what to spend, which limits to meet, on which scenarios."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from emulator.tables import PROGRAM, Table, key

T = TypeVar("T")
Some = Annotated[tuple[T, ...], Field(strict=False)]

COSTS = {  # terms of the objective that are no limits, and their units
    "bess_power": "MW",
    "bess_energy": "MWh",
    "throughput": "MW",
    "losses": "MW",
    "fade": "1/a",
    "smoothing_energy": "MW",
    "damping": "1",
}
_COSTS = ", ".join(name if unit == "1" else f"{name} in {unit}" for name, unit in COSTS.items())


class Parameter(Table):
    """A number that tuning may change; it never leaves its bounds."""

    path: str = key("dotted path of a key, list items by index or by name", min_length=1)
    low: float = key("least value, in the key's unit")
    high: float = key("greatest value")
    scale: Literal["log", "linear"] = key("log: equal steps are equal ratios", "log", source=PROGRAM)


class Term(Table):
    """Part of the objective, a sum of terms times their weights."""

    term: str = key(
        f"a cost ({_COSTS}) or a kind of limit: its excess, as a share of what is allowed, is then a cost "
        "and no constraint"
    )
    weight: float = key("objective per unit of the term", 1.0, ge=0, source=PROGRAM)


class Tune(Table):
    """Search by gradient; `wattswing tune` runs it, `run` ignores it."""

    steps: int = key("gradient steps", 200, ge=1, le=1_000_000, source=PROGRAM)
    learning_rate: float = key("first step size; falls to 0 along a cosine", 0.05, gt=0, le=10, source=PROGRAM)
    optimizer: str = key("any optimizer of optax by its name", "adam", source=PROGRAM)
    train_seeds: Some[int] = key("seeds tuned on", min_length=1)
    held_out_seeds: Some[int] = key("seeds only judged on, at the end", (), source=PROGRAM)
    limits: str | None = key("file or preset of limits; each clause is a constraint. Left out: none", None)
    reserve: float = key("share of what each clause allows that is kept back", 0.0, ge=0, lt=1, source=PROGRAM)
    parameters: Some[Parameter] = key("what to tune", min_length=1)
    objective: Some[Term] = key("what to make small", (), source=PROGRAM)
    over: Literal["worst", "mean", "cvar"] = key(
        "over scenarios: the worst (each clause then holds in all of them), the mean, or the mean of the worst share",
        "worst",
        source=PROGRAM,
    )
    cvar_share: float = key("that share of the scenarios", 0.25, unit="1", gt=0, le=1, source=PROGRAM)
    starts: int = key(
        "searches side by side: from the config's values, the others from random ones", 1, ge=1, le=1000, source=PROGRAM
    )
    seed: int = key("of the random starts", 0, ge=0, lt=2**31, source=PROGRAM)
    save_every: int = key("steps between saves of the whole state", 10, ge=1, source=PROGRAM)
    dt_s: float | None = key("tick while tuning; left out: run.dt_s", None, unit="s", gt=0, le=10)
    values: dict[str, Some[Any]] = key(
        "dotted path of a key and the values that it takes; every combination with every seed is a scenario",
        {},
        source=PROGRAM,
    )
