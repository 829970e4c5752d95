"""Kernel `device_power`: accelerated versions equal the definition; its draws; its state machine."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from emulator import bench
from emulator.blocks import lag_gain, lag_mean_gain
from emulator.cluster import smoothing
from emulator.kernels import device_power_blocked as blocked
from emulator.kernels.device_power import device_power
from emulator.kernels.device_tick import (
    Devices,
    Drive,
    Settings,
    State,
    Switches,
    at_rest,
    device_tick,
    filled_up,
    hashed,
    innovations,
    settled,
)
from tests.compiling import QUICKLY

NONE = Switches(noisy=False, own=False, smoothing=False, timers=False, averaged=False, dummy=False, cap=False)
ALL = Switches(*(True for _ in Switches._fields))
FIRST = 32 * 7 + 13  # of the window: words of the hash end within groups of ticks

# (what there is, devices, ticks). 192 ticks go in groups of 32, 97 is prime: groups of 1.
CASES = {
    "linear": (NONE, 1000, 96),
    "common noise, cap": (NONE._replace(noisy=True, cap=True), 63, 96),
    "own noise": (NONE._replace(noisy=True, own=True), 1500, 96),
    "smoothing": (NONE._replace(smoothing=True), 1, 192),
    "smoothing, waits, dummy": (NONE._replace(smoothing=True, timers=True, dummy=True), 63, 97),
    "smoothing, averaged, own noise, cap": (ALL._replace(timers=False, dummy=False), 600, 192),
}

# Ticks of the events before spreading, and their steps of level and noise amplitude. In groups of 32 ticks from 0: one
# event under way; a fall and a rise; more than FEW, all small; none, steady; two of one device in a group, steady; a
# fall in the end.
EVENTS = [
    (-60, 0.9, 0.02), (-20, -0.8, -0.01), (-9, 0.8, 0.01), (20, 0.05, 0.0), (36, -0.75, 0.01), (52, 0.65, -0.01),
    *((64 + 5 * k, 0.02 * (-1) ** k, 0.002) for k in range(5)), (130, 0.04, 0.0), (140, -0.03, 0.0),
    (165, -0.75, -0.01), (189, 0.5, 0.0), (230, 0.4, 0.1),
]  # fmt: skip


class Made(NamedTuple):
    """Arguments of the kernel between its switches and its first tick."""

    settings: Settings
    devices: Devices
    state: State
    drive: Drive


def made(switches: Switches, count: int, ticks: int) -> Made:
    dtype = jnp.result_type(float)
    rng = np.random.default_rng(count + ticks)
    settings = Settings(
        response=0.3, mean_response=0.16, coherent=0.6, incoherent=0.8, fade=0.95, innovation=np.sqrt(1 - 0.95**2),
        floor=0.6, rest_floor=0.05, up=0.03, down=0.02, ceiling=0.93, width=0.2, active_above=0.3, averaging=0.4,
        stop_ticks=3.0, hold_ticks=115.0, dummy_floor=0.5, dummy_ticks=4.0,
    )  # fmt: skip
    at, level, noise = (np.array(x) for x in zip(*EVENTS, strict=True))
    device = Devices(
        gain=jnp.asarray(1 + 0.03 * rng.normal(size=count), dtype),
        weight=jnp.asarray(rng.uniform(0.5, 1.5, count) / count, dtype),
        key=jnp.asarray(rng.integers(0, 2**32, count, dtype=np.uint32)),
    )
    drive = Drive(
        tick=jnp.asarray(at[:, None] + rng.integers(0, 4, (len(EVENTS), count)), jnp.int32),
        fraction=jnp.asarray(rng.uniform(size=(len(EVENTS), count)), dtype),
        level_step=jnp.asarray(level, dtype),
        noise_step=jnp.asarray(noise, dtype),
        common=jnp.asarray(rng.normal(size=ticks), dtype),
        cap=jnp.asarray(np.where(np.arange(ticks) % 50 < 20, 0.72, np.inf), dtype),
        poll=jnp.arange(ticks) % 7 == 0,
    )
    numbers = Settings(*(jnp.asarray(x, dtype) for x in settings))
    start = settled(switches, numbers, device, at_rest(switches, count, dtype), jnp.full(count, 0.9, dtype))
    return Made(numbers, device, start, drive)


@functools.partial(jax.jit, static_argnums=0, static_argnames=("method", "keep"), compiler_options=QUICKLY)
def power_of(switches: Switches, args: Made, first: jax.Array, method: str, keep: bool = False):
    return device_power(switches, *args, first, keep, method)


def assert_close(one, other, atol: float) -> None:
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)


def test_events_reach_every_branch():
    """Groups of 32 ticks with 0, 1 to FEW and more events under way."""
    tick = np.asarray(made(NONE, 63, 192).drive.tick)
    first = 32 * np.arange(6)[:, None]
    under_way = ((tick.max(1) >= first) & (tick.min(1) < first + 32)).sum(1)
    assert 0 in under_way and under_way.max() > blocked.FEW and ((under_way > 0) & (under_way < blocked.FEW)).any()


@pytest.mark.parametrize("case", CASES)
def test_parity(x64, case):
    """Blocks against the definition: sums, and the state that every device is left in.

    Some hundred roundings of numbers of order 1 in each device's recurrences, some thousand in the sums: 1e-13. Times
    from the group's start instead of the window's: 200 x 1e-16. Counters go to 200 by whole numbers.
    """
    switches, count, ticks = CASES[case]
    args = made(switches, count, ticks)
    found, expected = (power_of(switches, args, FIRST, method=m) for m in ("blocked", "dense"))
    assert found[1].shape == (ticks, 2)
    assert_close(found, expected, 1e-12)
    power, demand = np.asarray(expected[1]).T
    assert np.ptp(demand) > 0.3 and (np.abs(power - demand).max() > 0.05) == (switches.smoothing or switches.cap)


def test_parity_in_float32():
    """Times within a group of 32 are good to 2^-19 of a tick, 2e-6, steps are 0.8 at most, slopes of the limits 1."""
    args = made(ALL, 100, 96)
    found, expected = (power_of(ALL, args, FIRST, method=m)[1] for m in ("blocked", "dense"))
    np.testing.assert_allclose(found, expected, rtol=0, atol=4e-6)


def slopes(switches: Switches, args: Made, method: str):
    """State, sums, and the gradient of a sum of them all, each with its own factor, to everything that is a float."""

    def total(args: Made) -> tuple[jax.Array, tuple]:
        state, sums = device_power(switches, *args, jnp.int32(FIRST), method=method, interpret=True)
        rng = np.random.default_rng(5)
        parts = [sums, state.level, *(x for x in (state.own, state.floor, state.seen) if x is not None)]
        return sum(jnp.vdot(jnp.asarray(rng.normal(size=x.shape), x.dtype), x) for x in parts), (state, sums)

    found, values = jax.jit(jax.grad(total, allow_int=True, has_aux=True), compiler_options=QUICKLY)(args)
    return jax.tree.map(lambda x: x if jnp.issubdtype(x.dtype, jnp.floating) else None, found), values


def test_parity_with_gradients(x64):
    """All effects, two blocks. To settings, gains, weights, first states, fractions, steps, fluctuation and cap.

    A slope adds up 192 ticks x (devices or events) terms of order 1: 1e-11.
    """
    args = made(ALL, 600, 192)
    (found, values), (expected, its) = (slopes(ALL, args, m) for m in ("blocked", "dense"))
    assert_close(values, its, 1e-12)
    assert_close(found, expected, 1e-10)
    of = expected[0]
    moved = [of.response, of.coherent, of.incoherent, of.fade, of.innovation, of.floor, of.up, of.down, of.ceiling]
    assert np.abs([*moved, of.width, of.dummy_floor]).min() > 1e-6
    assert all(np.abs(x).max() > 1e-6 for x in (expected[1].gain, expected[3].fraction, expected[3].level_step))


def test_a_floor_at_its_top_has_the_slope_of_the_top(x64):
    """Demand falls as a group of ticks begins, after one that was steady. The floor then comes down from where the
    settings have their top: slope 1 to that at once, 0 to where the state says that the floor was."""
    switches = NONE._replace(smoothing=True)
    settings, its, state, _ = made(switches, 3, 64)
    drive = drive_of(np.repeat([0.9, 0.0], 32), devices=3)
    settings = settings._replace(response=jnp.asarray(1.0), mean_response=jnp.asarray(1.0))

    def last(top: jax.Array, was: jax.Array, method: str) -> jax.Array:
        args = settings._replace(floor=top), its, state._replace(floor=was), drive
        return device_power(switches, *args, jnp.int32(0), method=method)[1][40, 0]

    top = settings.floor
    for method in ("blocked", "dense"):
        slope = jax.jit(jax.grad(last, argnums=(0, 1)), static_argnums=2, compiler_options=QUICKLY)
        to_top, to_was = slope(top, jnp.broadcast_to(top, 3), method)
        np.testing.assert_allclose(to_top, its.weight.sum(), rtol=1e-12)
        np.testing.assert_array_equal(to_was, 0.0)


def fused(args: Made, interpret: bool = True):
    return device_power(ALL, *args, jnp.int32(FIRST), method="pallas", interpret=interpret)


def test_fused_kernel_interpreted_is_the_definition():
    """float32, two blocks. Every device the same operations as in the definition; sums of order 1 of 200 terms in
    another order: 200 x 6e-8 at the very worst, 1e-6 allowed."""
    args = made(ALL, 200, 97)
    (state, sums), (its, expected) = jax.jit(fused)(args), power_of(ALL, args, FIRST, method="dense")
    assert_close((state, sums), (its, expected), 1e-6)


@pytest.mark.parametrize("count", [1, 200])
def test_fused_kernel_takes_events_wherever_they_lie(count):
    """On either side of where groups of ticks meet, for one device; anywhere, early or late, for many."""
    args, rng = made(ALL, count, 97), np.random.default_rng(8)
    edges = -(FIRST % 32) + 32 * np.arange(5)
    tick = np.sort(np.concatenate([edges - 1, edges, edges + 1]))[: len(EVENTS), None]
    if count > 1:
        tick = rng.integers(-60, 160, args.drive.tick.shape)
    steps = jnp.asarray(rng.uniform(0.01, 0.08, len(tick)), jnp.float32)  # all of one sign: none hides another
    fraction = args.drive.fraction[: len(tick)]
    args = args._replace(
        drive=args.drive._replace(tick=jnp.asarray(tick), fraction=fraction, level_step=steps, noise_step=0 * steps)
    )
    (state, sums), (its, expected) = jax.jit(fused)(args), power_of(ALL, args, FIRST, method="dense")
    assert_close((state, sums), (its, expected), 1e-6)  # as above


def test_gradient_of_the_fused_kernel_is_that_of_the_definition(x64):
    """Its backward is the definition's, whatever the effects; to what, and in which order, is what can go wrong."""
    switches = NONE._replace(noisy=True, own=True, smoothing=True)
    args = made(switches, 150, 64)
    found, expected = (slopes(switches, args, m)[0] for m in ("pallas", "dense"))
    assert_close(found, expected, 1e-10)  # of blocks: 1e-11
    assert np.abs(expected[1].gain).max() > 1e-6


def test_fused_kernel_says_where_it_does_not_run():
    args = made(ALL, 3, 32)
    with pytest.raises(ValueError, match="GPU kernel and JAX runs on 'cpu'"):
        fused(args, interpret=False)
    with pytest.raises(ValueError, match="returns sums only"):
        device_power(ALL, *args, jnp.int32(FIRST), keep=True, method="pallas", interpret=True)


@pytest.mark.parametrize("backend", ["cpu", "gpu", "tpu"])
def test_blocks_are_for_cpus(monkeypatch, backend):
    """Elsewhere one loop over ticks, each of which takes all devices at once."""
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    text = str(jax.make_jaxpr(lambda *args: device_power(NONE, *args, jnp.int32(FIRST)))(*made(NONE, 600, 96)))
    assert (text.count("scan[") == 1) == (backend != "cpu")


def test_bench_measures_the_fused_kernel_where_there_is_a_gpu(monkeypatch):
    """Interpreted, for a few devices; nothing on a CPU."""
    assert bench.gpu_kernel_rates() == {}
    few = functools.partial(bench.kernel_rates, 70, 40, interpret=True)
    monkeypatch.setattr(bench, "kernel_rates", lambda devices, ticks: few())
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert min(bench.gpu_kernel_rates().values()) > 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_fused_kernel_lowers_for_a_gpu(monkeypatch):
    """As far as Triton's intermediate code: what there is to see without a GPU."""
    pytest.importorskip("jax.experimental.pallas.triton")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    traced = jax.jit(functools.partial(fused, interpret=False)).trace(made(ALL, 200, 97))
    try:
        text = traced.lower(lowering_platforms=("cuda",)).as_text()
    except RuntimeError as error:
        if "No supported GPU devices" not in str(error):
            raise
        pytest.skip("this JAX lowers for a GPU only beside one: 0.12 does")  # and CI has no GPU
    assert "triton" in text


SPLIT = "smoothing, averaged, own noise, cap"


@pytest.mark.parametrize("at", [96, 91])
def test_two_windows_are_one(x64, at):
    """Cut where groups of ticks end: devices bit by bit, their sums to the order of a compiler's additions, 1e-15.
    Elsewhere sums over events come in another order too: to rounding."""
    switches, count, ticks = CASES[SPLIT]
    args = made(switches, count, ticks)
    whole = power_of(switches, args, FIRST, method="blocked")
    state, parts = args.state, []
    for begin, end in ((0, at), (at, ticks)):
        drive = args.drive._replace(
            tick=args.drive.tick - begin,
            **{name: getattr(args.drive, name)[begin:end] for name in ("common", "cap", "poll")},
        )
        part = args._replace(state=state, drive=drive)
        state, sums = power_of(switches, part, FIRST + begin, method="blocked")
        parts.append(sums)
    assert_close(state, whole[0], 0.0 if at % 32 == 0 else 1e-12)
    assert_close(jnp.concatenate(parts), whole[1], 1e-15 if at % 32 == 0 else 1e-12)


def test_order_of_devices_does_not_matter(x64):
    """Whatever block they are in. Sums to rounding, 1e-13."""
    switches, count, ticks = CASES[SPLIT]
    args = made(switches, count, ticks)
    order = np.random.default_rng(6).permutation(count)
    drive = args.drive._replace(tick=args.drive.tick[:, order], fraction=args.drive.fraction[:, order])
    devices, state = (jax.tree.map(lambda x: x[order], x) for x in (args.devices, args.state))
    after, sums = power_of(switches, args, FIRST, method="blocked")
    other, its = power_of(switches, Made(args.settings, devices, state, drive), FIRST, method="blocked")
    assert_close(other, jax.tree.map(lambda x: x[order], after), 1e-12)
    assert_close(its, sums, 1e-12)


def test_devices_that_fill_up_change_nothing(x64):
    """Not a bit of a state or a power; and they weigh nothing."""
    args = made(ALL, 100, 97)
    wide = Made(args.settings, *filled_up(127, args.devices, args.state, args.drive))
    assert wide.devices.gain.shape == (127,) and not wide.devices.weight[100:].any()
    np.testing.assert_array_equal(wide.devices.weight[:100], args.devices.weight)
    (after, kept), expected = (power_of(ALL, x, FIRST, method="dense", keep=True) for x in (wide, args))
    assert_close((jax.tree.map(lambda x: x[:100], after), kept[:, :100]), expected, 0.0)


def test_kept_powers_sum_to_the_sums(x64):
    args = made(ALL, 100, 97)
    _, sums = power_of(ALL, args, FIRST, method="dense")
    for method in ("blocked", "dense"):
        _, kept = power_of(ALL, args, FIRST, method=method, keep=True)
        assert kept.shape == (97, 100) and np.ptp(kept, axis=1).max() > 0.1
        np.testing.assert_allclose(kept @ args.devices.weight, sums[:, 0], rtol=0, atol=1e-13)


# Draws


@pytest.mark.parametrize("keys", ["drawn", "in sequence"])
def test_bits_are_even_and_do_not_depend_on_each_other(keys):
    """3200 ticks x 1000 devices of +1 or -1: the mean of N products has an s.d. of 1/sqrt(N); 5 of them allowed."""
    draws = np.random.default_rng(0).integers(0, 2**32, 1000, dtype=np.uint32)
    key = jnp.asarray(draws if keys == "drawn" else np.arange(1000, dtype=np.uint32))
    settings = Settings(*(jnp.ones(()) for _ in Settings._fields))
    sign = np.asarray(jax.vmap(lambda n: innovations(settings, key, n))(jnp.arange(32 * 5, 32 * 105, dtype=jnp.int32)))
    assert set(np.unique(sign)) == {-1.0, 1.0}
    pairs = {f"{lag} ticks apart": (sign[lag:], sign[:-lag]) for lag in (1, 2, 16, 31, 32, 64)}
    pairs |= {f"{lag} devices apart": (sign[:, lag:], sign[:, :-lag]) for lag in (1, 2, 32)}
    pairs |= {"next tick of the next device": (sign[1:, 1:], sign[:-1, :-1]), "mean": (sign, np.ones_like(sign))}
    for name, (one, other) in pairs.items():
        assert abs(np.mean(one * other, dtype=np.float64)) < 5 / np.sqrt(one.size), name
    assert np.abs(sign.mean(0)).max() < 5 / np.sqrt(3200) and np.abs(sign.mean(1)).max() < 5 / np.sqrt(1000)
    each = np.corrcoef(sign[:, :200].T)[np.triu_indices(200, 1)]
    assert np.abs(each).max() < 6 / np.sqrt(3200)  # the largest of 19,900


@pytest.mark.parametrize(("dt_s", "lag"), [(0.005, 10), (0.025, 2)])
def test_own_fluctuation_has_its_statistics_at_any_tick(dt_s, lag):
    """Correlation time 50 ms. N = 20,000 devices: s.d. of a variance sqrt(2/N), of a correlation at most 1/sqrt(N), of
    a kurtosis at most sqrt(24/N); 4 of them allowed."""
    count, ticks = 20_000, 64
    none, many = jnp.zeros(()), jnp.ones(count)
    settings = smoothing.settings(none, none + 1.0, none, none + 0.05, none, None, None, dt_s)
    switches = NONE._replace(noisy=True, own=True)
    key = jnp.asarray(np.random.default_rng(1).integers(0, 2**32, count, dtype=np.uint32))
    its = Devices(many, many, key)
    drive = drive_of(np.zeros(ticks), devices=count)._replace(
        tick=jnp.full((1, count), -1, jnp.int32),
        fraction=jnp.zeros((1, count)),
        level_step=jnp.zeros(1),
        noise_step=jnp.ones(1),
    )
    start = settled(switches, settings, its, at_rest(switches, count, many.dtype), 0.0 * many)
    own = np.asarray(power_of(switches, Made(settings, its, start, drive), 9, method="dense", keep=True)[1], np.float64)
    own = np.concatenate([np.asarray(start.own, np.float64)[None], own])
    for at in (0, 7, ticks):
        assert own[at].var() == pytest.approx(1.0, abs=4 * np.sqrt(2 / count)), at
    assert stats.kurtosis(own[0]) == pytest.approx(0.0, abs=4 * np.sqrt(24 / count))
    for apart in (lag, 2 * lag):
        found = np.mean(own[ticks] * own[ticks - apart])
        assert found == pytest.approx(np.exp(-apart * dt_s / 0.05), abs=4 / np.sqrt(count))
    f = np.exp(-2 * dt_s / 0.05)
    assert stats.kurtosis(own[ticks]) == pytest.approx(-2 * (1 - f) / (1 + f), abs=4 * np.sqrt(24 / count))


@pytest.mark.parametrize("word", [0, 2**32 - 1])
def test_first_fluctuation_is_finite_for_every_key(word):
    """The keys whose first hash is all zeros or all ones: lowbias32 backwards."""
    x = word ^ (word >> 16)
    x = x * pow(0x846CA68B, -1, 2**32) % 2**32
    x ^= (x >> 15) ^ (x >> 30)
    x = x * pow(0x7FEB352D, -1, 2**32) % 2**32
    x ^= x >> 16
    key = jnp.asarray([x ^ (2**32 - 0x9E3779B9)], jnp.uint32)
    assert int(hashed(key, jnp.asarray(-1, jnp.int32))[0]) == word
    switches, one = NONE._replace(noisy=True, own=True), jnp.ones(1)
    state = settled(switches, settings_of(), Devices(one, one, key), at_rest(switches, 1, one.dtype), one)
    np.testing.assert_allclose(jnp.abs(state.own), stats.norm.isf(2.0**-24), rtol=1e-3)  # the middle of the last bin


# State machine of the limits. Numbers are binary fractions: what is tested is exact.

LIMITS = NONE._replace(smoothing=True, timers=True, averaged=True, dummy=True, cap=True)
TICKS, EVENTS_AT_MOST, TOP, WIDTH, UP, DOWN = 128, 8, 0.5, 0.25, 1 / 64, 1 / 128


def settings_of(**numbers: float) -> Settings:
    """A floor of 0.5 that rises within 32 ticks and falls within 64; no other effect but for what is given."""
    plain = dict.fromkeys(Settings._fields, 0.0)
    plain |= {
        "response": 1.0,
        "mean_response": 1.0,
        "floor": TOP,
        "up": UP,
        "down": DOWN,
        "ceiling": np.inf,
        "width": WIDTH,
    }
    plain |= {"active_above": 1 / 16, "averaging": 1.0, "dummy_floor": -1.0}
    return Settings(**{name: jnp.asarray(x, jnp.result_type(float)) for name, x in (plain | numbers).items()})


def drive_of(level: np.ndarray, devices: int = 1, cap: float | np.ndarray = np.inf, poll_every: int = 1) -> Drive:
    """Events that make this level in every tick."""
    steps = np.diff(level, prepend=0.0)
    at = np.flatnonzero(steps)
    spare = max(EVENTS_AT_MOST - len(at), 0)
    tick = np.pad(at, (0, spare), constant_values=10**6)
    dtype = jnp.result_type(float)
    return Drive(
        tick=jnp.broadcast_to(jnp.asarray(tick, jnp.int32)[:, None], (len(tick), devices)),
        fraction=jnp.zeros((len(tick), devices), dtype),
        level_step=jnp.asarray(np.pad(steps[at], (0, spare)), dtype),
        noise_step=jnp.zeros(len(tick), dtype),
        common=jnp.zeros(len(level), dtype),
        cap=jnp.broadcast_to(jnp.asarray(cap, dtype), len(level)),
        poll=jnp.arange(len(level)) % poll_every == 0,
    )


@functools.partial(jax.jit, compiler_options=QUICKLY)
def in_ticks(settings: Settings, drive: Drive, level: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Power of one device by the kernel in blocks; power and floor after every tick by `device_tick`."""
    one, key = jnp.ones(1, level.dtype), jnp.zeros(1, jnp.uint32)
    its = Devices(one, one, key)
    state = settled(LIMITS, settings, its, at_rest(LIMITS, 1, level.dtype), 0.0 * one)
    _, sums = device_power(LIMITS, settings, its, state, drive, jnp.int32(0))

    def tick(state: State, xs: tuple) -> tuple[State, tuple]:
        level, cap, poll = xs
        target, zero = (level * one, 0.0 * one), jnp.zeros((), level.dtype)
        state, power, _ = device_tick(LIMITS, settings, one, state, target, zero, None, cap, poll)
        return state, (power[0], state.floor[0])

    _, (power, floor) = jax.lax.scan(tick, state, (level, drive.cap, drive.poll))
    return sums[:, 0], power, floor


class Followed(NamedTuple):
    """A device's ticks."""

    demand: np.ndarray
    power: np.ndarray
    floor: np.ndarray


def follow(*pieces: tuple[int, float], cap=np.inf, poll_every: int = 1, **numbers: float) -> Followed:
    """One device through pieces of so many ticks of a demand; the last one goes on."""
    level = np.concatenate([np.full(ticks, demand) for ticks, demand in pieces])
    level = np.pad(level, (0, TICKS - len(level)), mode="edge")
    drive = drive_of(level, cap=cap, poll_every=poll_every)
    sums, power, floor = in_ticks(settings_of(**numbers), drive, jnp.asarray(level, jnp.result_type(float)))
    np.testing.assert_array_equal(sums, power)
    return Followed(level, np.asarray(power), np.asarray(floor))


N = np.arange(TICKS)


def rise(since: np.ndarray, begin: float = 0.0) -> np.ndarray:
    """Floor in the n-th tick, from 0, of rising."""
    return np.clip(begin + UP * (since + 1), 0.0, TOP)


def fall(since: np.ndarray, begin: float = TOP, rest: float = 0.0) -> np.ndarray:
    """Floor in the n-th tick, from 0, of falling; before that where it was."""
    return np.clip(begin - DOWN * (since + 1).clip(0), rest, TOP)


def middle(floor: np.ndarray, before: float = 0.0) -> np.ndarray:
    """Of each tick, from the floors at their ends."""
    return 0.5 * (floor + np.concatenate([[before], floor[:-1]]))


def test_floor_rises_with_a_ceiling_above_it_until_it_is_at_the_top():
    of = follow((TICKS, 1.0))
    np.testing.assert_array_equal(of.floor, rise(N))
    np.testing.assert_array_equal(of.power, np.where(N < 31, middle(rise(N)) + WIDTH, 1.0))  # at the top in tick 31


def test_demand_passes_where_neither_floor_nor_ceiling_binds():
    of = follow((8, 0.25), (16, 0.375), (40, 0.625), (64, 0.75))
    np.testing.assert_array_equal(of.floor, rise(N))
    np.testing.assert_array_equal(of.power, of.demand)


@pytest.mark.parametrize("stop", [0, 1, 10])
def test_floor_holds_for_the_delay_exactly_then_falls(stop):
    of = follow((40, 1.0), (88, 0.0), stop_ticks=stop)
    np.testing.assert_array_equal(of.floor[40:], fall(N[40:] - 40 - stop))
    np.testing.assert_array_equal(of.power[40:], middle(of.floor)[40:])
    assert np.count_nonzero(of.power[40:] == TOP) == stop


def test_activity_within_the_delay_starts_it_again():
    of = follow((40, 1.0), (9, 0.0), (1, 1.0), (78, 0.0), stop_ticks=10)
    np.testing.assert_array_equal(of.floor[50:], fall(N[50:] - 60))


@pytest.mark.parametrize("waits", [{}, {"stop_ticks": 10.0, "hold_ticks": 20.0}])
def test_floor_retreats_at_once_when_activity_ends_on_the_way_up(waits):
    of = follow((10, 1.0), (118, 0.0), **waits)
    np.testing.assert_array_equal(of.floor[10:], fall(N[10:] - 10, begin=10 * UP))


def test_activity_on_the_way_down_turns_the_floor_up_again_with_a_ceiling():
    of = follow((40, 1.0), (30, 0.0), (58, 1.0), stop_ticks=10)
    lowest = TOP - 20 * DOWN
    assert of.floor[69] == lowest
    np.testing.assert_array_equal(of.floor[70:], rise(N[70:] - 70, lowest))
    at_top = 70 + round((TOP - lowest) / UP) - 1
    np.testing.assert_array_equal(of.power[70:], np.where(N[70:] < at_top, middle(of.floor)[70:] + WIDTH, 1.0))


@pytest.mark.parametrize(("hold", "stop"), [(20, 0), (20, 5), (3, 12)])
def test_floor_stays_at_the_top_for_its_least_time(hold, stop):
    """At the top from the end of tick 31 on, without activity from tick 36 on."""
    of = follow((36, 1.0), (92, 0.0), hold_ticks=hold, stop_ticks=stop)
    np.testing.assert_array_equal(of.floor[31:], fall(N[31:] - max(32 + hold, 36 + stop)))


def test_least_time_counts_from_the_last_arrival_at_the_top():
    """Falls in tick 52, up again in 60, from 0.5 - 8/128 in 4 ticks: at the top from the end of 63."""
    of = follow((36, 1.0), (24, 0.0), (6, 1.0), (62, 0.0), hold_ticks=20)
    np.testing.assert_array_equal(of.floor[63:], fall(N[63:] - (64 + 20)))


def test_secondary_floor_remains():
    of = follow((8, 0.0), (32, 1.0), (88, 0.0), rest_floor=0.125)
    np.testing.assert_array_equal(of.power[:8], 0.125)
    np.testing.assert_array_equal(of.floor[8:40], rise(N[8:40] - 8, 0.125))
    np.testing.assert_array_equal(of.floor[40:], fall(N[40:] - 40, rest=0.125))
    np.testing.assert_array_equal(of.power[40:], middle(of.floor)[40:])
    assert of.power[-1] == 0.125


def test_lasting_ceiling():
    of = follow((TICKS, 1.0), ceiling=0.625)
    np.testing.assert_array_equal(of.power, np.minimum(middle(rise(N)) + WIDTH, 0.625))


def test_activity_is_judged_by_the_running_mean():
    """1 - exp(-n/20) passes 0.3 after 20 ln(1/0.7) = 7.1 ticks; back from 1 - exp(-3) below it, 20 ln(0.95/0.3)."""
    of = follow((60, 1.0), (68, 0.0), averaging=-np.expm1(-1 / 20), active_above=0.3)
    begins = int(np.ceil(20 * np.log(1 / 0.7))) - 1  # the tick that takes the mean above
    np.testing.assert_array_equal(of.floor[:60], rise((N[:60] - begins).clip(-1)))
    ends = 60 + int(np.ceil(20 * np.log((1 - np.exp(-3)) / 0.3))) - 1
    np.testing.assert_array_equal(of.floor[60:], fall(N[60:] - ends))


@pytest.mark.parametrize("time_constant", [0.6, 3.2, 8.2])  # ticks
def test_activity_is_judged_by_the_mean_of_the_tick(time_constant):
    """After a fall from 1 the mean of tick n is T (1 - exp(-1/T)) exp(-n/T), the end exp(-(n + 1)/T): below 1/16 a tick
    earlier for these. On the way up 1 less that."""
    lag = jnp.asarray(time_constant)
    numbers = {"response": lag_gain(lag, 1.0), "mean_response": lag_mean_gain(lag, 1.0)}
    left = time_constant * -np.expm1(-1 / time_constant) * np.exp(-N / time_constant)
    of = follow((60, 1.0), (68, 0.0), **numbers)
    begins, ends = np.argmax(1.0 - left > 1 / 16), 60 + np.argmax(left < 1 / 16)
    np.testing.assert_array_equal(of.floor[:60], rise((N[:60] - begins).clip(-1)))
    np.testing.assert_array_equal(of.floor[60:], fall(N[60:] - ends))


def test_energy_of_a_fall_is_that_of_a_ramp_wherever_the_tick_ends():
    """1000 devices that fall from 1 at moments evenly spread over a tick, T = 3 ticks. Each follows exp(-t/T) down to
    the floor, is active for T ln 16, and then ramps for 64 ticks. A lag's end is taken for a tick: half a tick early.

    What is left: a bend of slope k adds k/12 on average, 0.014 where the floor is met and half of that in the tick of
    the fall; an exponential's mean over a tick is that of its middle a tick/(24 T) later, times the floor 0.007.
    """
    count, lag = 1000, jnp.asarray(3.0)
    settings = settings_of(response=lag_gain(lag, 1.0), mean_response=lag_mean_gain(lag, 1.0))
    switches, one = NONE._replace(smoothing=True), jnp.ones(count)
    its = Devices(one, one / count, jnp.zeros(count, jnp.uint32))
    state = settled(switches, settings, its, at_rest(switches, count, one.dtype), one)
    drive = drive_of(np.repeat([1.0, 0.0], [20, TICKS - 20]), devices=count)
    drive = drive._replace(fraction=drive.fraction.at[1].set((np.arange(count) + 0.5) / count))
    power = power_of(switches, Made(settings, its, state, drive), 0, method="dense")[1][:, 0]
    expected = 3 * (1 - TOP) + 3 * TOP * np.log(16 * TOP) + TOP**2 / (2 * DOWN) - 0.5 * (1 - TOP)
    assert float(power.sum()) - 20.5 == pytest.approx(expected, abs=0.04)


def test_cap_wins_over_floor_and_dummy_work():
    cap = np.where(N < 64, 0.375, np.inf)
    of = follow((40, 1.0), (88, 0.0), cap=cap, stop_ticks=30, dummy_floor=0.75, dummy_ticks=5)
    np.testing.assert_array_equal(of.power[10:64], 0.375)
    assert of.floor[63] == TOP and (of.power[64:] == 0.75).all()


@pytest.mark.parametrize("latency", [0, 1, 7])
def test_dummy_work_is_late_by_its_latency_exactly(latency):
    of = follow((20, 1.0), (40, 0.25), (68, 1.0), floor=0.0, up=0.0, dummy_floor=0.5, dummy_ticks=latency)
    np.testing.assert_array_equal(of.power[20:60], np.where(N[20:60] < 20 + latency, 0.25, 0.5))
    np.testing.assert_array_equal(of.power[60:], 1.0)


def settle(level: float, **numbers: float) -> State:
    one = jnp.ones(1)
    start = at_rest(LIMITS, 1, one.dtype)
    return settled(LIMITS, settings_of(**numbers), Devices(one, one, jnp.zeros(1, jnp.uint32)), start, level * one)


def test_a_settled_device_has_waited_long_enough():
    """Devices that have drawn a level for long: off the top at once where that has lasted, dummy work under way."""
    waits = {"stop_ticks": 10.0, "hold_ticks": 20.0, "dummy_floor": 0.25, "dummy_ticks": 7.0}
    active, idle = settle(1.0, **waits), settle(0.0, **waits)
    assert active.floor == TOP and active.held > 20.0 and active.quiet == 0.0 and active.filling == 0.0
    assert idle.floor == 0.0 and idle.quiet > 10.0 and idle.dip > 7.0 and idle.filling == 1.0
    assert active.seen == 1.0 and idle.seen == 0.0


def test_dummy_work_begins_and_ends_at_a_look():
    """Looks every 5 ticks. Dip in tick 20: the 8th tick of it is 27, the look after that 30. Back in 71 and 72; the
    look in 75 finds a new dip of 3 ticks, too short."""
    numbers = {"floor": 0.0, "up": 0.0, "dummy_floor": 0.5, "dummy_ticks": 7.0}
    of = follow((20, 1.0), (51, 0.25), (2, 0.75), (5, 0.25), (50, 1.0), poll_every=5, **numbers)
    expected = np.where((N >= 30) & (N < 75), np.maximum(of.demand, 0.5), of.demand)
    np.testing.assert_array_equal(of.power, expected)


@pytest.mark.parametrize("seed", range(20))
def test_limits_hold_whatever_the_demand(seed):
    """Floor within its ends and moving by its rates; output within floor and ceiling, demand where these allow it."""
    rng = np.random.default_rng(seed)
    begins = np.sort(rng.choice(np.arange(1, TICKS), 7, replace=False))
    pieces = [(int(n), float(rng.integers(0, 9) / 8)) for n in np.diff(begins, prepend=0, append=TICKS)]
    numbers = {"stop_ticks": float(rng.integers(0, 9)), "hold_ticks": float(rng.integers(0, 30)), "rest_floor": 0.0625}
    of = follow(*pieces, **numbers)
    moves = np.diff(of.floor)
    at_end = (of.floor[1:] == TOP) | (of.floor[1:] == 0.0625)
    assert of.floor.min() >= 0.0625 and of.floor.max() <= TOP
    assert (np.isin(moves, [0.0, UP, -DOWN]) | at_end).all()
    floor = middle(of.floor, before=0.0625)
    ceiling = np.where(of.floor < TOP, floor + WIDTH, np.inf)
    np.testing.assert_array_equal(of.power, np.clip(of.demand, floor, ceiling))
    filled = follow(*pieces, **numbers, dummy_floor=0.375, dummy_ticks=3.0, poll_every=4)
    assert (filled.power >= of.power).all() and (filled.floor == of.floor).all()
    held = follow(*pieces, **numbers, dummy_floor=0.375, cap=0.6875)
    expected = np.where(of.demand < 0.375, np.maximum(of.power, 0.375), of.power)
    np.testing.assert_array_equal(held.power, np.minimum(expected, 0.6875))
