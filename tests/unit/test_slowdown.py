"""The nominal device that lays iterations out against the state machine of devices, `device_tick`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emulator.cluster import slowdown
from emulator.kernels.device_tick import ABSENT, Devices, Settings, Switches, at_rest, device_tick
from emulator.kernels.device_tick import settled as settled_device

SWITCHES = Switches(noisy=False, own=False, smoothing=True, timers=True, averaged=False, dummy=False, cap=False)
TICKS = 512
PLAIN = dict.fromkeys(Settings._fields, 0.0) | {"response": 1.0, "mean_response": 1.0, "floor": 0.5, "up": 1 / 64}
PLAIN |= {"down": 1 / 128, "width": 0.25, "ceiling": np.inf, "active_above": 1 / 16}
CASES = {
    "ramps at once": {},
    "waits": {"stop_ticks": 20.0},
    "waits and holds": {"stop_ticks": 9.0, "hold_ticks": 60.0},
    "secondary floor, ceiling": {"rest_floor": 0.25, "ceiling": 0.75, "stop_ticks": 5.0, "down": 1 / 32},
}


def settings_of(case: str) -> Settings:
    return Settings(**{name: jnp.asarray(x) for name, x in (PLAIN | CASES[case]).items()})


@jax.jit
def ticked(settings: Settings, level: jax.Array, start: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Power and floor of one device after each tick, from a long time at `start`."""
    one = jnp.ones(1)
    device = Devices(one, one, jnp.zeros(1, jnp.uint32))
    state = settled_device(SWITCHES, settings, device, at_rest(SWITCHES, 1, one.dtype), start * one)

    def tick(state, level):
        zero = jnp.zeros(())
        state, power, _ = device_tick(SWITCHES, settings, one, state, (level * one, one), zero, ABSENT, zero, zero)
        return state, (power[0], state.floor[0])

    return jax.lax.scan(tick, state, level)[1]


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Levels and lengths of pieces that fill the ticks."""
    rng = np.random.default_rng(seed)
    ticks = rng.integers(0, 70, 40)
    ticks = ticks[np.cumsum(ticks) <= TICKS]
    return np.where(rng.uniform(size=len(ticks)) < 0.5, 0.9, 0.0), ticks


@pytest.mark.parametrize("case", CASES)
def test_floor_after_pieces_is_that_of_a_device(x64, case):
    """Four random rows of work and rest: at the end of every piece, and where a row is cut short. A device reaches the
    top at the end of a tick, and stays for up to one longer: one tick's fall allowed."""
    settings = settings_of(case)
    heights = set()
    for seed in range(4):
        level, ticks = drawn(seed)
        series = np.pad(np.repeat(level, ticks), (0, TICKS - ticks.sum()))
        _, floor = ticked(settings, jnp.asarray(series), jnp.asarray(0.9 * (seed % 2)))
        begin = slowdown.settled(settings, jnp.asarray(seed % 2 == 1))
        pieces = [(jnp.asarray(a), jnp.asarray(float(b))) for a, b in zip(level, ticks, strict=True)]
        ends = np.cumsum(ticks)
        for until in [*ends, *(ends - ticks // 2)]:
            found = slowdown.followed(settings, begin, pieces, float(until)).height
            if until > 0:
                assert found == pytest.approx(float(floor[until - 1]), abs=float(settings.down)), (seed, until)
                heights.add(float(found))
    assert len(heights) > 10


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("rest", [0, 12, 33, 400])
@pytest.mark.parametrize("work", [3.0, 40.0, 90.0])
def test_work_done_under_the_ceiling_is_what_was_asked(x64, case, rest, work):
    """After a rest, with the floor wherever it then is: speed (power/level)^(1/3) summed over the ticks of the phase.
    The tick in which the floor arrives at its top has no ceiling: 1 - ((0.75 - 1/128)/0.9)^(1/3) of a tick, 0.063."""
    settings, level = settings_of(case), 0.9
    series = np.repeat([0.0, level], [rest, TICKS - rest])
    power, _ = ticked(settings, jnp.asarray(series), jnp.asarray(0.9))
    done = np.cumsum((np.minimum(np.asarray(power)[rest:], level) / level) ** (1 / 3))
    begin = slowdown.settled(settings, jnp.asarray(True))
    before = [(jnp.asarray(0.0), jnp.asarray(float(rest)))]
    args = jnp.asarray(np.inf), jnp.asarray(3.0), before, jnp.asarray([level]), jnp.asarray([work]), 1.0
    (took,) = slowdown.slowed(settings, begin, *args)
    assert np.interp(took, np.arange(len(done) + 1), np.append(0.0, done)) == pytest.approx(work, abs=0.07)
    assert took >= work


def test_a_cap_and_a_ceiling_hold_the_lower_one(x64):
    """Levels 0.9 and 0.1, cap 0.6, ceiling 0.75: (0.9/0.6)^(1/2) as long and just as long; with the cap away 0.75."""
    settings = settings_of("secondary floor, ceiling")
    up = slowdown.settled(settings, jnp.asarray(True))
    levels, work_s = jnp.asarray([0.9, 0.1]), jnp.asarray([2.0, 3.0])
    for cap, least in ((0.6, 0.6), (np.inf, 0.75)):
        args = jnp.asarray(cap), jnp.asarray(2.0), [], levels, work_s, 0.001
        np.testing.assert_allclose(slowdown.slowed(settings, up, *args), [2.0 * (0.9 / least) ** 0.5, 3.0], rtol=1e-12)
    args = jnp.asarray(0.6), jnp.asarray(2.0), [], levels, work_s, 0.001
    np.testing.assert_allclose(slowdown.slowed(None, None, *args), [2.0 * 1.5**0.5, 3.0], rtol=1e-12)
