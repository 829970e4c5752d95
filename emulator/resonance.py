"""Resonance map: how strongly the plant answers a job's iteration, whatever the iteration's period.

The nominal iteration keeps its shape and is stretched to a period T. Its harmonic k then acts at k/T:
    rms(T)^2 = sum over k of |H(k/T)|^2 a_k^2 / 2,    a_k: amplitude of the tick means
Amplification = rms(T) over that of the same plant with all modes damped to a ratio of at least 0.5 (`modes.calmed`),
for each kind of output the largest over the largest (what hardly answers is thereby not blown up): 1 = nothing
resonates; a single sine on a lone mode comes to its quality factor 1/(2 zeta).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emulator.linearise import Linear
from emulator.modes import LIGHT, Mode, Modes, calmed, response
from emulator.waveform import HARMONICS, Waveform

SHORTEST_S, LONGEST_S, PERIODS = 0.2, 60.0, 1200
WELL_DAMPED = 0.5
NOTABLE = 0.1  # of the largest harmonic: one that counts
LEAST_BAND = 1e-3  # half-width of a range over its period: no job keeps its period closer than that
RAISED = 1.2  # amplification from which a mode counts as excited
PER_DECADE = 400  # frequencies at which the response is solved
NEAR = np.linspace(-10.0, 10.0, 121)  # more of them about each mode, in half-widths


@dataclass(frozen=True)
class Avoid:
    """Periods at which a harmonic of the job meets a lightly damped mode."""

    low_s: float
    high_s: float
    mode_hz: float
    damping_ratio: float
    harmonic: int
    amplification: float  # with the harmonic on the mode, of the kind that has most of it
    output: int  # the largest of that kind


@dataclass(frozen=True)
class Resonance:
    """The map. Outputs as the linear plant has them."""

    waveform: Waveform
    period_s: np.ndarray  # (periods,)
    rms: np.ndarray  # (periods, outputs) of the response, in the output's unit
    amplification: dict[str, np.ndarray]  # (periods,) of each kind of output that answers
    avoid: tuple[Avoid, ...]

    def verdict(self) -> tuple[Avoid, ...] | None:
        """Ranges that the job's own period lies in; None where it has no period."""
        own = self.waveform.period_s
        return None if own is None else tuple(its for its in self.avoid if its.low_s <= own <= its.high_s)

    def own_amplification(self) -> dict[str, float]:
        """Of each kind of output at the job's own period, most first; none where that lies outside the map."""
        at = np.flatnonzero(self.period_s == self.waveform.period_s)
        found = {kind: float(over[at[0]]) for kind, over in self.amplification.items() if len(at)}
        return dict(sorted(found.items(), key=lambda its: -its[1]))


class _Gains:
    """Magnitudes of the response, solved once on a fine grid and read off it by straight lines in logarithms of f."""

    def __init__(self, linear: Linear, dt_s: float, modes: Modes) -> None:
        low_hz, high_hz = 0.9 / LONGEST_S, min(0.5 / dt_s, 1.1 * HARMONICS / SHORTEST_S)
        count = round(PER_DECADE * np.log10(high_hz / low_hz))
        grid = [np.geomspace(low_hz, high_hz, count)]
        grid += [m.frequency_hz * (1.0 + abs(m.damping_ratio) * NEAR) for m in modes.modes if m.damping_ratio < LIGHT]
        hz = np.unique(np.concatenate(grid))
        self._hz = hz[(hz >= low_hz) & (hz <= high_hz)]
        self._dt_s = dt_s
        found = response(linear, dt_s, self._hz)
        calm = calmed(linear, dt_s, modes, self._hz, found, WELL_DAMPED)
        self._gain = np.abs(found), np.abs(calm)

    def rms(self, period_s: np.ndarray, amplitude_mw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(periods, outputs) rms of the response, of the plant and of the well damped one."""
        hz = np.arange(1, len(amplitude_mw) + 1) / period_s[:, None]
        held = amplitude_mw * np.abs(np.sinc(hz * self._dt_s)) * (hz < 0.5 / self._dt_s)  # of tick means
        found = []
        for gain in self._gain:
            at = [np.interp(np.log(hz), np.log(self._hz), column) for column in gain.T]
            found.append(np.stack([np.sqrt(0.5 * np.sum((g * held) ** 2, axis=1)) for g in at], axis=1))
        return found[0], found[1]


def resonance_of(linear: Linear, dt_s: float, modes: Modes, waveform: Waveform, kinds: Sequence[str]) -> Resonance:
    """Map of a waveform's periods from 0.2 to 60 s, and those to avoid.

    Args:
      kinds: (outputs,) what each is.
    """
    gains = _Gains(linear, dt_s, modes)
    avoid = _avoided(gains, modes, waveform, kinds)
    # Also where a harmonic is on a mode, as a peak may be narrower than the steps between periods, and the job's own.
    own = [] if waveform.period_s is None else [waveform.period_s]
    exact = [its.harmonic / its.mode_hz for its in avoid] + own
    period_s = np.unique(np.append(np.geomspace(max(SHORTEST_S, 4.0 * dt_s), LONGEST_S, PERIODS), exact))
    period_s = period_s[(period_s >= SHORTEST_S) & (period_s <= LONGEST_S)]
    rms, calm = gains.rms(period_s, waveform.amplitude_mw)
    return Resonance(waveform, period_s, rms, _amplification(rms, calm, kinds), tuple(avoid))


def _amplification(rms: np.ndarray, calm: np.ndarray, kinds: Sequence[str]) -> dict[str, np.ndarray]:
    """(periods,) of each kind that answers: its largest rms over its largest in the well damped plant."""
    found = {}
    for kind in dict.fromkeys(kinds):
        its = [i for i, other in enumerate(kinds) if other == kind]
        most = calm[:, its].max(axis=1)
        if (most > 0.0).all():
            found[kind] = rms[:, its].max(axis=1) / most
    return found


def _avoided(gains: _Gains, modes: Modes, waveform: Waveform, kinds: Sequence[str]) -> list[Avoid]:
    """|k/T - f| <= zeta f: half-power band of the mode, for harmonics that are notable and modes that they excite.

    Reference: half-power bandwidth, Clough & Penzien, Dynamics of Structures, 1993, sec. 4 [M].
    """
    amplitude = waveform.amplitude_mw
    notable = np.flatnonzero(amplitude >= NOTABLE * amplitude.max()) + 1
    found = []
    for mode in modes.modes:
        if mode.frequency_hz > 0.0 and mode.damping_ratio < LIGHT:
            found += [its for k in notable if (its := _meeting(gains, mode, int(k), amplitude, kinds))]
    return sorted(found, key=lambda its: its.low_s)


def _meeting(gains: _Gains, mode: Mode, harmonic: int, amplitude_mw: np.ndarray, kinds: Sequence[str]) -> Avoid | None:
    on_s, zeta = harmonic / mode.frequency_hz, max(abs(mode.damping_ratio), LEAST_BAND)
    low_s, high_s = max(on_s / (1.0 + zeta), SHORTEST_S), min(on_s / (1.0 - zeta), LONGEST_S)
    if low_s >= high_s:
        return None
    rms, calm = gains.rms(np.clip([on_s], low_s, high_s), amplitude_mw)
    over = {kind: float(its[0]) for kind, its in _amplification(rms, calm, kinds).items()}
    kind = max(over, key=lambda its: over[its])
    if over[kind] < RAISED:
        return None
    output = max((i for i, its in enumerate(kinds) if its == kind), key=lambda i: rms[0, i])
    return Avoid(low_s, high_s, mode.frequency_hz, mode.damping_ratio, harmonic, over[kind], output)
