"""A job's iterations as the emulation has them, read at the places of a record's rows, with slopes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from emulator.cluster.pauses import ITERATION
from emulator.fit_iterations import FitError, Iterations
from emulator.fit_problem import Task
from emulator.plant import Params
from emulator.struct import as_array, quantity, struct
from emulator.waveform import sampled

READ = 4  # starts of iterations that an emulation holds: one to settle, two iterations to compare with
SHIFT = 0.05  # of an iteration: unit of the shift between record and emulation
SEEDS = 16  # of which the one is taken whose iterations are as long as those of all in the mean
SUMMED = 4096  # devices about which the power of all is taken; how long they wait comes from every one of them
SLOWEST = np.pi / np.sqrt(24.0)  # over ln n: s.d. over mean of the largest of n normal draws, asymptotically (Gumbel)
COLUMNS = 8  # slopes in as many coordinates at once: each takes the memory of a job's events


TOO_LONG = "the emulated iterations are far longer than the recorded ones: shorten CONFIG's phases"


@struct
class Places:
    """Where rows lie in the emulated time."""

    begin_s: jax.Array = quantity("s", "rows")
    length_s: jax.Array = quantity("s", "rows")
    unit_s: jax.Array = quantity("s", "", "by which the last coordinate shifts all of them")


@dataclass(frozen=True)
class Luck:
    """What few draws do to an emulation without jitter."""

    length_s: float  # s.d. of an iteration's length: of how long all wait for the slowest
    emulated_s: float  # s.d. of the compared iterations' mean length about the expected one
    summed: int  # devices about which the power is taken
    scatter: float  # s.d. of how long all wait for the slowest, over its mean; 0 where nobody waits

    @property
    def bent_s(self) -> float:
        """What waits that differ do to the mean iteration in second order: their variance over their mean."""
        return self.length_s * self.scatter


@dataclass(frozen=True)
class Record:
    """A recorded power and the iterations in it."""

    values: np.ndarray  # (rows,) MW
    row_s: float
    average_s: float  # over which each is a mean, about its row's middle
    iterations: Iterations

    @property
    def early_s(self) -> float:
        """From a row's beginning to that of its mean."""
        return 0.5 * (self.row_s - self.average_s)

    def seen(self, mean: Callable[[np.ndarray, float], np.ndarray], since_s: np.ndarray) -> np.ndarray:
        """(rows,) of rows that begin at times, from means over a time that begin at times."""
        return mean(since_s + self.early_s, self.average_s)

    def places(self, before_s: float) -> tuple[Places, np.ndarray]:
        """Where rows lie in an emulation that settles for `before_s`, and (rows,) whether they are in an iteration that
        counts. Iterations are read from the emulated ones after that in turn."""
        its, rows_s = self.iterations, np.arange(len(self.values)) * self.row_s
        which = its.of(rows_s)
        since_s = rows_s - its.start_s[which]
        inside = (since_s >= 0.0) & (since_s < its.length_s[which])
        period_s = its.period_s
        pace = period_s / its.length_s[which]
        begin_s = before_s + (which % 2) * period_s + (since_s + self.early_s) * pace
        return Places(*(as_array(x) for x in (begin_s, self.average_s * pace, SHIFT * period_s))), inside


def bounds_of(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest coordinates, that of the shift last: a little over half an iteration either way."""
    low, high = task.bounds()
    return np.append(low, -0.6 / SHIFT), np.append(high, 0.6 / SHIFT)


def _lifted(params: Params, lift: jax.Array) -> Params:
    training = params.training[0]
    workload = replace(training.job.workload, level=training.job.workload.level + lift)
    return replace(params, training=(replace(training, job=replace(training.job, workload=workload)),))


class Emulation:
    """Iterations of a task's job, read at the places of a record's rows. Compiled once."""

    def __init__(self, task: Task, measured: str) -> None:
        self.task = task = replace(task, layout=sampled(task.layout, SUMMED))
        dt_s = task.layout.dt_s

        def energy(place: jax.Array, seed: jax.Array, lift: jax.Array) -> tuple[jax.Array, jax.Array]:
            """(ticks + 1,) MW s since the start, (ticks,) bits; (phases,) levels lifted."""
            frames = task.frames(_lifted(task.params(place[:-1]), lift), seed)
            power = (frames.pcc_mw if measured == "site" else frames.job_mw)[:, 0]
            return jnp.concatenate([jnp.zeros(1, power.dtype), jnp.cumsum(power) * dt_s]), frames.job_bits[:, 0]

        def reached(energy_mws: jax.Array, time_s: jax.Array) -> jax.Array:
            place = jnp.clip(time_s / dt_s, 0.0, energy_mws.shape[0] - 1.001)
            tick = jnp.floor(place).astype(jnp.int32)
            return energy_mws[tick] + (place - tick.astype(place.dtype)) * (energy_mws[tick + 1] - energy_mws[tick])

        def rows(place: jax.Array, seed: jax.Array, where: Places) -> jax.Array:
            energy_mws, begin_s = energy(place, seed, self._level)[0], where.begin_s + where.unit_s * place[-1]
            return (reached(energy_mws, begin_s + where.length_s) - reached(energy_mws, begin_s)) / where.length_s

        def slopes(place: jax.Array, seed: jax.Array, where: Places) -> jax.Array:
            """(rows, coordinates), COLUMNS of them at a time."""
            one = lambda step: jax.jvp(lambda x: rows(x, seed, where), (place,), (step,))[1]  # noqa: E731
            count = place.shape[0]
            blocks = -(-count // COLUMNS)
            steps = jnp.eye(-(-count // blocks) * blocks, count, dtype=place.dtype)
            return jax.lax.map(jax.vmap(one), steps.reshape(blocks, -1, count)).reshape(len(steps), -1)[:count].T

        self._level = jnp.zeros(len(task.layout.training[0].job.phases), jnp.result_type(float))
        self._energy, self._slopes = jax.jit(energy), jax.jit(slopes)
        # How long all wait for the slowest device is a matter of a few draws: those that make for mean lengths.
        self._seed = 0
        lengths_s = self.lengths_s(np.append(task.coordinates(task.start), 0.0))
        self._seed = int(np.argmin(np.abs(lengths_s[:, 1:] - lengths_s.mean()).max(axis=1)))

    def _emulated(self, place: np.ndarray, seed: int, lift: jax.Array) -> tuple[np.ndarray, np.ndarray]:
        energy_mws, bits = self._energy(as_array(place), jnp.asarray(seed, jnp.uint32), lift)
        return np.asarray(energy_mws, np.float64), np.asarray(bits)

    def lengths_s(self, place: np.ndarray) -> np.ndarray:
        """(seeds, iterations) the first iterations at coordinates, to a tick."""
        seeds = 1 if self.task.layout.training[0].job.alike else SEEDS
        starts_s = [self._starts_s(self._emulated(place, seed, self._level)[1]) for seed in range(seeds)]
        return np.diff(starts_s, axis=1)

    def luck(self, place: np.ndarray) -> Luck:
        """At coordinates: how lengths scatter, and how well those of the seed taken stand for the expected one."""
        lengths_s, its = self.lengths_s(place), self.task.layout.training[0]
        off_s = float(lengths_s[self._seed, 1:].mean() - lengths_s.mean())
        length_s = float(lengths_s.std())
        summed = its.job.devices // its.summed_every
        emulated_s = float(np.hypot(off_s, length_s / np.sqrt(lengths_s.size)))
        scatter = SLOWEST / np.log(its.job.devices) if length_s > 0.0 else 0.0
        return Luck(length_s, emulated_s, summed, float(scatter))

    def _starts_s(self, bits: np.ndarray) -> np.ndarray:
        starts_s = np.flatnonzero(bits & ITERATION)[:READ] * self.task.layout.dt_s
        if len(starts_s) < READ:
            raise FitError(TOO_LONG)
        return starts_s

    def rows(self, place: np.ndarray, where: Places) -> np.ndarray:
        """(rows,) MW at places in the emulated time, at coordinates whose last one shifts all of them."""
        return self._lifted_rows(place, where, self._level)

    def _lifted_rows(self, place: np.ndarray, where: Places, lift: jax.Array) -> np.ndarray:
        energy_mws, _ = self._emulated(place, self._seed, lift)
        edges_s = np.arange(len(energy_mws)) * self.task.layout.dt_s
        begin_s, length_s = np.asarray(where.begin_s + where.unit_s * place[-1]), np.asarray(where.length_s)
        begin, end = (np.interp(at_s, edges_s, energy_mws) for at_s in (begin_s, begin_s + length_s))
        return (end - begin) / length_s

    def slopes(self, place: np.ndarray, where: Places) -> np.ndarray:
        """(rows, coordinates) of them."""
        return np.asarray(self._slopes(as_array(place), jnp.asarray(self._seed, jnp.uint32), where), np.float64)

    def shares(self, place: np.ndarray, where: Places) -> np.ndarray:
        """(rows, phases) MW by which power rises with the level of a phase, as a share of the device's range: power is
        linear in it."""
        plain, steps = self.rows(place, where), jnp.eye(len(self._level), dtype=self._level.dtype)
        return np.stack([self._lifted_rows(place, where, step) - plain for step in steps], axis=1)

    def iteration(self, place: np.ndarray) -> tuple[float, float, Callable[[np.ndarray, float], np.ndarray]]:
        """When the second emulated iteration starts, how long it is, and the mean power over a time from moments on,
        counted from that start."""
        energy_mws, bits = self._emulated(place, self._seed, self._level)
        starts_s = self._starts_s(bits)
        edges_s = np.arange(len(energy_mws)) * self.task.layout.dt_s

        def mean(since_s: np.ndarray, length_s: float) -> np.ndarray:
            begin, end = (np.interp(starts_s[1] + since_s + shift, edges_s, energy_mws) for shift in (0.0, length_s))
            return (end - begin) / length_s

        return float(starts_s[1]), float(starts_s[2] - starts_s[1]), mean
