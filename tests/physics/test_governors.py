"""Each governor against equations written anew, in total values, solved by scipy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal
from scipy.integrate import solve_ivp

from emulator import governor_schema as schema
from emulator.blocks import rk4_increment
from emulator.grid import governor
from emulator.grids import MODELS
from tests.compiling import QUICKLY

TABLES = {
    "reheat": schema.ReheatGovernor(model="reheat", deadband_pu=0.0005),
    "lag": schema.LagGovernor(model="lag", lag_s=0.4),
    "tgov1": schema.Tgov1Governor(model="tgov1", t1_s=0.3, t2_s=1.5, t3_s=5.0, dt_pu=0.3, vmax_pu=0.75),
    "gast": schema.GastGovernor(model="gast", t1_s=0.4, t2_s=0.1, t3_s=3.0, at_pu=0.72, kt=2.0, dt_pu=0.1,
                                rate_up_pu_per_s=0.05, deadband_pu=0.0003),
    "ieeeg1": schema.Ieeeg1Governor(model="ieeeg1", t1_s=0.2, t2_s=0.5, k1=0.2, k2=0.1, k3=0.3, k5=0.25, k7=0.15,
                                    uo_pu_per_s=0.04, pmax_pu=0.74, deadband_pu=0.0003),
    "hygov": schema.HygovGovernor(model="hygov", tf_s=0.1, tg_s=0.2, tw_s=1.3, at=1.2, dturb_pu=0.5, qnl_pu=0.08,
                                  velm_pu_per_s=0.02, gmax_pu=0.72),
    "engine": schema.EngineGovernor(model="engine", block_load_pu=0.05, boost_s=1.5, pmax_pu=0.76),
}  # fmt: skip
WIDE = {"vmax_pu": 9.0, "pmax_pu": 9.0, "gmax_pu": 9.0, "at_pu": 9.0, "uo_pu_per_s": 9.0, "velm_pu_per_s": 9.0,
        "block_load_pu": 5.0, "rate_up_pu_per_s": 9.0}  # fmt: skip
START = 0.6  # pu, operating point


def params_of(table) -> governor.GovernorParams:
    kind = MODELS[table.model]
    value = {name: getattr(table, name) for name in kind.__dataclass_fields__}
    return kind(**{name: jnp.asarray([np.inf if v is None else v]) for name, v in value.items()})


def response(params, speed, seconds: float, order: float = 0.0, dt_s: float = 0.001) -> jax.Array:
    """(ticks + 1,) deviation of power while the speed deviates by speed(t), Runge-Kutta as in the emulation."""
    operating, orders = jnp.array([START]), jnp.array([order])

    def one(x, t):
        w = jnp.atleast_1d(speed(t))
        power = governor.power(params, w, orders, operating, x)
        # The speed of a run moves within a tick; here it is held, so that a step is a step.
        rate = lambda y: governor.slope(params, w, orders, operating, y)  # noqa: E731
        after = jax.tree.map(jnp.add, x, rk4_increment(rate, x, dt_s))
        return governor.held(params, operating, after), power[0]

    ticks = jnp.asarray(np.arange(round(seconds / dt_s) + 1) * dt_s)
    return jax.lax.scan(one, governor.initial(params, operating), ticks)[1]


def band(w, table):
    return np.sign(w) * max(abs(w) - table.deadband_pu, 0.0)


def stop(rate, x, low, high):
    return 0.0 if (x >= high and rate > 0) or (x <= low and rate < 0) else rate


def totals(table, w: float, order: float):
    """Initial state, derivative and power, in total values: the standard block diagrams."""
    v, p0 = band(w, table), START
    match table.model:
        case "reheat":
            direct = table.gain_pu * (order - v / table.droop_pu)
            return (
                [0.0],
                lambda x: [(direct - x[0]) / table.reheat_s],
                lambda x: p0 + table.hp_fraction * direct + (1 - table.hp_fraction) * x[0],
            )
        case "lag":
            return [p0], lambda x: [(p0 + order - v / table.droop_pu - x[0]) / table.lag_s], lambda x: x[0]
        case "tgov1":

            def slope(x):
                valve = stop((p0 + order - v / table.droop_pu - x[0]) / table.t1_s, x[0], table.vmin_pu, table.vmax_pu)
                return [valve, (x[0] - x[1]) / table.t3_s]

            return [p0, p0], slope, lambda x: x[1] + table.t2_s / table.t3_s * (x[0] - x[1]) - table.dt_pu * w
        case "gast":

            def slope(x):
                gate = min(p0 + order - v / table.droop_pu, table.at_pu + table.kt * (table.at_pu - x[2]))
                rate = min((gate - x[0]) / table.t1_s, table.rate_up_pu_per_s)
                return [
                    stop(rate, x[0], table.vmin_pu, table.vmax_pu),
                    (x[0] - x[1]) / table.t2_s,
                    (x[1] - x[2]) / table.t3_s,
                ]

            return [p0] * 3, slope, lambda x: x[1] - table.dt_pu * w
        case "ieeeg1":

            def slope(x):
                lead = x[0] + table.t2_s / table.t1_s * (v - x[0])
                rate = min(max((p0 + order - table.k * lead - x[1]) / table.t3_s, table.uc_pu_per_s), table.uo_pu_per_s)
                chain = [(x[i] - x[i + 1]) / getattr(table, f"t{i + 3}_s") for i in range(1, 5)]
                return [(v - x[0]) / table.t1_s, stop(rate, x[1], table.pmin_pu, table.pmax_pu), *chain]

            def power(x):
                return sum(
                    (getattr(table, f"k{2 * i - 1}") + getattr(table, f"k{2 * i}")) * x[i + 1] for i in range(1, 5)
                )

            return [0.0, *[p0] * 5], slope, power
        case "hygov":
            return hygov(table, w, v, order)
        case "engine":

            def slope(x):
                high = min(table.pmax_pu, x[2] + table.block_load_pu)
                error = table.droop_pu * (p0 + order - x[1]) - v
                wanted = table.proportional_gain * error + x[0]
                wound = (wanted > high and error > 0) or (wanted < table.pmin_pu and error < 0)
                fuel = stop((wanted - x[1]) / table.actuator_s, x[1], table.pmin_pu, high)
                return [0.0 if wound else table.integral_gain_per_s * error, fuel,
                        (x[1] - x[2]) / table.boost_s, (x[1] - x[3]) / table.combustion_s]  # fmt: skip

            return [p0] * 4, slope, lambda x: x[3]


def hygov(table, w: float, v: float, order: float):
    """Likewise; v: speed behind its dead-band."""
    g0 = START / table.at + table.qnl_pu

    def slope(x):
        e_in = table.droop_pu * g0 + table.droop_pu * order / table.at - v - table.droop_pu * x[1]
        de = (e_in - x[0]) / table.tf_s
        rate = np.clip((x[0] / table.tr_s + de) / table.temporary_droop_pu, -table.velm_pu_per_s, table.velm_pu_per_s)
        return [de, stop(rate, x[1], table.gmin_pu, table.gmax_pu), (x[1] - x[2]) / table.tg_s,
                (1 - (x[3] / x[2]) ** 2) / table.tw_s]  # fmt: skip

    def power(x):
        return table.at * (x[3] / x[2]) ** 2 * (x[3] - table.qnl_pu) - table.dturb_pu * x[2] * w

    return [0.0, g0, g0, g0], slope, power


LIMITED = {"tgov1": (0,), "gast": (0,), "ieeeg1": (1,), "hygov": (1,), "engine": (1,)}  # states with position limits


def limits_of(table, x) -> tuple[float, float]:
    if table.model == "engine":
        return table.pmin_pu, min(table.pmax_pu, x[2] + table.block_load_pu)
    name = {"ieeeg1": "p", "hygov": "g"}.get(table.model, "v")
    return getattr(table, f"{name}min_pu"), getattr(table, f"{name}max_pu")


def heun(table, start, slope, seconds: float, h: float, keep: int) -> np.ndarray:
    """Fine steps, each put back to the limits: what an adaptive method cannot do, which chatters along a limit."""
    x, found = np.array(start, float), []
    for n in range(round(seconds / h) + 1):
        if n % keep == 0:
            found.append(x.copy())
        k1 = np.array(slope(x))
        x = x + 0.5 * h * (k1 + np.array(slope(x + h * k1)))
        for place in LIMITED.get(table.model, ()):
            low, high = limits_of(table, x)
            x[place] = min(max(x[place], low), high)
    return np.array(found)


@pytest.mark.parametrize("w", [-0.0002, -0.004, -0.012, 0.006])
@pytest.mark.parametrize("model", TABLES)
def test_step_of_speed_with_limits(x64, model, w):
    """From inside the dead-band to far beyond the limits. At a corner of a limit either method is off by rate x step,
    at most 0.05 pu/s x 1 ms (and 0.25 ms), on a swing of 0.02 to 0.2 pu: 2e-3 of it, allowed 5e-3."""
    table = TABLES[model]
    start, slope, power = totals(table, w, 0.0)
    expected = np.array([power(x) for x in heun(table, start, slope, 6.0, 0.00025, 4)]) - START
    ours = np.asarray(response(params_of(table), lambda t: jnp.asarray(w), 6.0))
    np.testing.assert_allclose(ours, expected, atol=5e-3 * max(np.ptp(expected), 1e-6))
    if abs(w) < table.deadband_pu and getattr(table, "dt_pu", 0.0) == 0.0:
        assert np.abs(ours).max() == 0.0


@pytest.mark.parametrize("model", TABLES)
def test_step_of_speed_without_limits(x64, model):
    """Limits wide open, adaptive method at 1e-10: Runge-Kutta at 1 ms against time constants of 50 ms, 1e-6."""
    table = TABLES[model].model_copy(update={k: v for k, v in WIDE.items() if hasattr(TABLES[model], k)})
    start, slope, power = totals(table, -0.003, 0.0)
    t = np.arange(4001) * 0.001
    found = solve_ivp(lambda _, x: slope(x), (0, 4), start, "LSODA", t, rtol=1e-10, atol=1e-12).y
    expected = np.array([power(x) for x in found.T]) - START
    ours = np.asarray(response(params_of(table), lambda t: jnp.asarray(-0.003), 4.0))
    np.testing.assert_allclose(ours, expected, atol=1e-6 * np.ptp(expected))


@pytest.mark.parametrize("model", [m for m in TABLES if m != "hygov"])
def test_order_of_power_comes_out(x64, model):
    """An AGC order of 0.05 pu is, in the end, a power of 0.05 pu (times the gain of `reheat`)."""
    table = TABLES[model]
    last = float(response(params_of(table), lambda t: jnp.zeros(()), 90.0, order=0.05, dt_s=0.01)[-1])
    assert last == pytest.approx(0.05 * getattr(table, "gain_pu", 1.0), abs=1e-4)


def test_hygov_order_and_small_signal(x64):
    """Order: exact in steady state. A ramp of the gate meets (1 - Tw s)/(1 + Tw s/2) at full load, from scipy."""
    table = TABLES["hygov"].model_copy(update={"gmax_pu": 1.5, "velm_pu_per_s": 10.0})
    last = float(response(params_of(table), lambda t: jnp.zeros(()), 500.0, order=0.01, dt_s=0.02)[-1])
    assert last == pytest.approx(0.01, abs=1e-5)
    # About gate g0: h - 1 = 2 (dq - dg)/g0, Tw dq' = -2 (dq - dg)/g0, dP = At (2 (dq - dg)(g0 - qNL)/g0 + dq).
    g0 = START / table.at + table.qnl_pu
    r, rt, tr, tf, tg, tw = (
        getattr(table, k) for k in ("droop_pu", "temporary_droop_pu", "tr_s", "tf_s", "tg_s", "tw_s")
    )
    a = np.array([
        [-1 / tf, -r / tf, 0, 0],
        [(1 / tr - 1 / tf) / rt, -r / tf / rt, 0, 0],
        [0, 1 / tg, -1 / tg, 0],
        [0, 0, 2 / g0 / tw, -2 / g0 / tw],
    ])  # fmt: skip
    b = np.array([[-1 / tf], [-1 / tf / rt], [0], [0]])
    lever = 2 * (g0 - table.qnl_pu) / g0
    c = table.at * np.array([[0, 0, -lever, lever + 1]])
    t = np.arange(8001) * 0.001
    w = 1e-6
    _, expected = signal.step(signal.StateSpace(a, b, c, [[-table.dturb_pu * g0]]), T=t)
    ours = np.asarray(response(params_of(table), lambda t: jnp.asarray(w), 8.0))
    np.testing.assert_allclose(ours / w, expected, atol=1e-3 * np.ptp(expected))
    assert ours[1:400].max() > 0 > ours[-1]  # the water column: the wrong way first


@pytest.mark.parametrize("model", TABLES)
def test_rest_is_rest(model):
    params, at = params_of(TABLES[model]), jnp.array([0.537])
    x, none = governor.initial(params, at), jnp.zeros(1)
    for leaf in jax.tree.leaves((governor.slope(params, none, none, at, x), governor.power(params, none, none, at, x))):
        assert not leaf.any()


@pytest.mark.parametrize("model", TABLES)
def test_gradients(x64, model):
    """Of the power after 3 s, by every parameter, against central differences; limits wide open, then at the limits
    finite."""
    table = TABLES[model]
    open_table = table.model_copy(
        update={k: v for k, v in WIDE.items() if hasattr(table, k)} | {"deadband_pu": 2.1e-4}
    )  # reached between two ticks

    def power(params):
        return response(params, lambda t: -0.004 * jnp.minimum(t, 1.0), 3.0, dt_s=0.005)[-1]

    params = params_of(open_table)
    last, slopes_at = (jax.jit(each, compiler_options=QUICKLY) for each in (power, jax.grad(power)))
    slopes = slopes_at(params)
    for name in type(params).__dataclass_fields__:
        value, slope = getattr(params, name), float(getattr(slopes, name)[0])
        assert np.isfinite(slope), name
        if np.isfinite(value[0]) and name != "share":
            step = 1e-5 * max(abs(float(value[0])), 1e-2)
            ends = [float(last(type(params)(**{**vars(params), name: value + side * step}))) for side in (1, -1)]
            assert slope == pytest.approx((ends[0] - ends[1]) / 2 / step, rel=1e-4, abs=1e-8), name
    limited = slopes_at(params_of(table))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(limited))


@pytest.mark.parametrize("model", TABLES)
def test_slopes_at_rest_without_a_dead_band(x64, model):
    """Where a linearisation stands: the slope by speed is that of small deviations to either side."""
    table = TABLES[model].model_copy(update={"deadband_pu": 0.0})
    params, at = params_of(table), jnp.array([START])
    x, none = governor.initial(params, at), jnp.zeros(1)

    def leaves(speed):
        rates = governor.slope(params, speed, none, at, x), governor.power(params, speed, none, at, x)
        return jnp.concatenate(jax.tree.leaves(rates))

    step = 1e-6
    between = (leaves(none + step) - leaves(none - step)) / 2 / step
    np.testing.assert_allclose(jax.jacfwd(leaves)(none)[:, 0], between, rtol=1e-6)


def test_lags_of_zero_pass_through(x64):
    """ieeeg1 with T1 = T4 = T6 = T7 = 0 is the same with lags of a microsecond, and has gradients."""
    table = TABLES["ieeeg1"].model_copy(update={"t2_s": 0.0, "pmax_pu": 9.0, "uo_pu_per_s": 9.0})
    none = table.model_copy(update=dict.fromkeys(("t1_s", "t4_s", "t6_s", "t7_s"), 0.0))
    short = table.model_copy(update=dict.fromkeys(("t1_s", "t4_s", "t6_s", "t7_s"), 2e-3))
    step = lambda t: jnp.asarray(-0.003)  # noqa: E731
    exact, near = (np.asarray(response(params_of(x), step, 5.0)) for x in (none, short))
    np.testing.assert_allclose(exact[100:], near[100:], atol=0.02 * np.ptp(exact))
    slopes = jax.grad(lambda p: response(p, step, 1.0)[-1])(params_of(none))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))


def test_an_engine_takes_blocks(x64):
    """A step far beyond its block: at once it takes the block, then what its turbocharger follows to."""
    table = TABLES["engine"].model_copy(update={"pmax_pu": 1.1, "block_load_pu": 0.1, "boost_s": 4.0})
    power = np.asarray(response(params_of(table), lambda t: jnp.asarray(-0.05), 8.0))
    assert power[500] < 0.1 + 0.5 * 0.1 / 4.0 * 1.2  # fuel - boost = 0.1: boost rises at 0.1/4 pu/s
    assert power[500] > 0.09
    rate = (power[5000] - power[3000]) / 2.0
    assert rate == pytest.approx(0.1 / 4.0, rel=3e-3)  # what is left of the first second
