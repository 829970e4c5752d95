"""Fatigue of a shaft section: cycles of its torque by rainflow, an S-N curve, and Miner's sum.

    N(a) = N_e (a_e / a)^m for a >= a_e, no end below a_e;   damage = sum n / N(a)
a: amplitude of a cycle, half its range; n: 1 or 1/2 of each; damage 1: life used up. The mean torque, which a trace of
changes does not hold, is left out, and so are notches: the curve is one of torque, not of stress.
References: Miner 1945; Basquin 1910; cycles as in `cycles`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emulator.cycles import Reversals, counted, without_small
from emulator.units import S_PER_YEAR


@dataclass(frozen=True)
class Strength:
    """S-N curve of a section, in pu of the shaft's rating."""

    endurance_pu: float  # amplitude below which a cycle costs nothing
    cycles: float  # that a section bears at this amplitude
    exponent: float  # m
    source: str


ASSUMED = Strength(0.1, 1e7, 6.0, "0.1 pu: ERCOT and Electranix screening [S]; 1e7 cycles and exponent 6: assumed")


@dataclass(frozen=True)
class Fatigue:
    """What a record did to a section."""

    cycles_beyond_endurance: float
    damage: float  # share of its life
    damage_per_year: float  # if all of the year were like the record


def of_torque(torque_pu: np.ndarray, span_s: float, strength: Strength) -> Fatigue:
    """Fatigue by (rows,) torque over a record of this length."""
    reversals = Reversals()
    reversals.add(torque_pu)
    # A range that is the endurance's twice over counts: the smaller ones alone are left out beforehand.
    size_pu, count = counted(without_small(reversals.all(), 2.0 * strength.endurance_pu))
    harmful = size_pu >= 2.0 * strength.endurance_pu
    over = 0.5 * size_pu[harmful] / strength.endurance_pu
    damage = float(np.sum(count[harmful] * over**strength.exponent) / strength.cycles)
    return Fatigue(float(np.sum(count[harmful])), damage, damage * S_PER_YEAR / span_s)
