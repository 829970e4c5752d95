"""What one imports as `em`: names, arguments of the wrong kind, files, numbers by dotted path."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import emulator as em
from tests.compiling import QUICKLY

SITE = """
[run]
name = "api"
duration_s = 0.4
dt_s = 0.004
[[site]]
name = "campus"
area = "main"
job = [{name = "base", kind = "constant", power_mw = 50.0}]
[site.facility]
power_factor = 0.95
[site.bess]
units = 2
power_mw = 15.0
energy_mwh = 30.0
delay_s = 0.008
[site.controller]
kind = "low_pass"
cutoff_hz = 0.1
soc_gain = 0.2
[[grid.area]]
name = "main"
inertia_s = 4.0
[[disturbance]]
kind = "load_step"
at_s = 0.1
site = "campus"
mw = 10.0
"""
CUTOFF = "site.campus.controller.cutoff_hz"


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("api") / "api.toml"
    path.write_text(SITE)
    return path


@pytest.fixture(scope="module")
def scenario(config):
    return em.load(config)


@pytest.fixture(scope="module")
def trace(scenario):
    return em.run(scenario)


def test_names_are_listed_and_documented():
    listed = [name for name in dir(em) if not name.startswith("__")]
    assert listed == sorted(em.__all__)
    for name in em.__all__:
        assert getattr(em, name).__doc__, name


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        (lambda: em.run("campus_100mw"), "as from em.load(CONFIG)"),
        (lambda: em.build("campus_100mw"), "as from em.load(CONFIG)"),
        (lambda: em.tune("campus_100mw"), "as from em.load(CONFIG)"),
        (lambda: em.parameters("campus_100mw"), "as from em.load(CONFIG)"),
        (lambda: em.sweep("battery_sizes"), "as from em.cases_of(CONFIG)"),
        (lambda: em.assess("a.h5", "ercot_draft"), "as from em.read(FILE) or em.run(scenario)"),
        (lambda: em.measure(Path("a.h5")), "as from em.read(FILE) or em.run(scenario)"),
        (lambda: em.write("a.h5", "b.h5"), "as from em.run(scenario)"),
        (lambda: em.load("campus_100mw", "run.duration_s=1"), 'as from ["run.duration_s=10"]'),
        (lambda: em.load({"run": {}}), "as from"),
    ],
)
def test_an_argument_of_another_kind_is_refused_with_how_to_get_the_right_one(call, hint):
    with pytest.raises(TypeError, match="wanted: a ") as refused:
        call()
    assert hint in str(refused.value)


def test_a_written_trace_reads_as_it_was(trace, tmp_path):
    em.write(trace, tmp_path / "out" / "a.h5")
    read = em.read(tmp_path / "out" / "a.h5")
    for field in dataclasses.fields(trace):
        before, after = getattr(trace, field.name), getattr(read, field.name)
        if isinstance(before, np.ndarray):
            assert after.shape == before.shape
            np.testing.assert_array_equal(after, before, err_msg=field.name)
    assert read.events == trace.events and trace.events
    assert read.complete and read.stop_reason == trace.stop_reason
    assert repr(read.header) == repr(trace.header)  # nominal_kv is NaN here, unequal to itself
    assert {name: value for name, value in read.metrics.items() if value == value} == {
        name: value for name, value in trace.metrics.items() if value == value
    }
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.h5"]


def test_a_trace_in_a_terminal_is_a_line(trace):
    assert repr(trace) == ("<Trace of api: 100 rows of 0.004 s, complete; site campus, job campus/base, area main>")
    cut = dataclasses.replace(trace, complete=False, stop_reason="voltage collapse")
    assert "not complete: voltage collapse; site" in repr(cut)


def test_a_part_of_a_trace_keeps_its_times_and_that_it_is_one(trace, tmp_path):
    em.write(trace, tmp_path / "a.h5")
    part = dataclasses.replace(em.read(tmp_path / "a.h5", slice(40, 60)), complete=False, stop_reason="a part")
    em.write(part, tmp_path / "part.h5")
    read = em.read(tmp_path / "part.h5")
    np.testing.assert_array_equal(read.time_s, trace.time_s[40:60])
    np.testing.assert_array_equal(read.site_pcc_power_mw, trace.site_pcc_power_mw[40:60])
    assert not read.complete and read.stop_reason == "a part"


def test_what_stands_in_the_way_of_a_file_keeps_the_old_one(trace, tmp_path):
    em.write(trace, tmp_path / "a.h5")
    (tmp_path / "a.h5.tmp").mkdir()
    with pytest.raises(em.TraceError, match="a.h5"):
        em.write(dataclasses.replace(trace, complete=False), tmp_path / "a.h5")
    assert em.read(tmp_path / "a.h5").complete


def leaves(params):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(params)]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (CUTOFF, 0.3),
        ("site.0.bess.power_mw", 12.0),
        ("grid.area.main.inertia_s", 3.0),
        ("site.campus.bess.soc_max", 0.8),
    ],
)
def test_a_number_by_its_path_is_that_of_the_configuration(config, scenario, path, value):
    set_by_path = leaves(em.build(em.load(config, [f"{path}={value}"]))[1])
    given = leaves(em.parameters(scenario)({path: value}))
    for one, other in zip(given, set_by_path, strict=True):
        np.testing.assert_array_equal(one, other)
    assert any((a != b).any() for a, b in zip(given, leaves(em.parameters(scenario)({})), strict=True))


def test_gradients_by_path_are_those_by_the_tree(scenario):
    """A batch of them, compiled."""
    layout, params, state, inputs = em.build(scenario)
    params_of = em.parameters(scenario)

    def energy(p):
        return jnp.square(em.rollout(layout, p, state, inputs)[1].bess_mw).sum()

    batched = jax.jit(jax.vmap(jax.grad(lambda hz: energy(params_of({CUTOFF: hz})))), compiler_options=QUICKLY)
    whole = jax.jit(jax.grad(energy), compiler_options=QUICKLY)(params).sites[0].storage.controller.cutoff_hz
    assert whole != 0.0
    # Sums of 100 terms of one sign in float32, in another order: 100 eps.
    np.testing.assert_allclose(batched(jnp.array([0.1, 0.1])), np.full(2, whole), rtol=100 * np.finfo("f4").eps)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("site.campus.controller.cutof_hz", "nearest: cutoff_hz"),
        ("site.campus.bess.units", "whole number"),
        ("site.campus.bess.delay_s", "no parameter of the plant depends on it"),
        ("site.campus.bess.ramp_mw_per_s", "left out of the config"),
        ("site.campus.bess.forming_droop_pu", "no parameter of the plant depends on it"),
        ("run.duration_s", "no parameter of the plant"),
        ("site.campus.job.base.power_mw", "given from outside"),
    ],
)
def test_what_no_gradient_can_follow_is_refused(scenario, path, reason):
    params_of = em.parameters(scenario)
    with pytest.raises(em.PathError, match=reason):
        params_of({path: 1.0})
    with pytest.raises(em.PathError, match=reason):  # also where JAX is tracing
        jax.eval_shape(lambda x: params_of({path: x}), 1.0)


def test_what_changes_the_structure_is_refused():
    numbers = em.parameters(em.load("campus_100mw"))
    with pytest.raises(em.PathError, match="changes the structure .*; load the scenario with a value above 0"):
        numbers({"site.campus.job.pretrain.workload.phase.0.spread_s": 0.01})


TRAINING = """
    [run]
    duration_s = 3.0
    dt_s = 0.01
    [[site]]
    name = "campus"
    [[site.job]]
    name = "train"
    kind = "training"
    accelerator = "h100"
    devices = 32
    [site.job.workload]
    jitter = 0.01
    [[site.job.workload.phase]]
    name = "compute"
    duration_s = 0.5
    level = 1.0
    spread_s = 0.01
    [[site.job.workload.phase]]
    name = "step"
    duration_s = 0.2
    level = 0.1
    [site.bess]
    power_mw = 0.05
    energy_mwh = 0.1
    [site.controller]
    kind = "low_pass"
    cutoff_hz = 0.1
"""


LENGTHS = {"phase.compute.duration_s": 0.5, "phase.step.duration_s": 0.2, "jitter": 0.01}


def test_lengths_of_phases_have_gradients_by_path(tmp_path, x64):
    """And jitter: against central differences. Halved lengths still fit into the window, shorter ones give NaN."""
    (tmp_path / "training.toml").write_text(TRAINING)
    its = em.load(tmp_path / "training.toml")
    layout, _, state, inputs = em.build(its)
    params_of = em.parameters(its)
    values = {f"site.campus.job.train.workload.{key}": jnp.asarray(x) for key, x in LENGTHS.items()}
    ramp = jnp.linspace(0.0, 1.0, 300)

    def moment(its):
        return jnp.sum(ramp * em.rollout(layout, params_of(its), state, inputs)[1].pcc_mw[:, 0])

    value, slopes = jax.jit(jax.value_and_grad(moment), compiler_options=QUICKLY)(values)
    moment = jax.jit(moment, compiler_options=QUICKLY)
    for key, slope in slopes.items():
        ends = [float(moment({**values, key: values[key] + way * 1e-6})) for way in (1, -1)]
        # Piecewise smooth in time: edges within a tick are exact. Rounding: 1e-15 of 1e1 MW over 2e-6.
        assert float(slope) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5) != 0.0
    assert np.isfinite(moment(jax.tree.map(lambda x: 0.55 * x, values)))
    assert np.isnan(moment(jax.tree.map(lambda x: 0.2 * x, values)))


def test_what_is_designed_beforehand_is_refused(config):
    lqr = "site.campus.controller={kind='lqr', cutoff_hz=0.1, grid_mw=5.0, order_mw=10.0}"
    with pytest.raises(em.PathError, match="designed for each plant anew"):
        em.parameters(em.load(config, [lqr]))({"grid.area.main.inertia_s": 5.0})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Own(em.Controller):
    """A low-pass written down once more."""

    cutoff_hz: jax.Array
    soc_gain: jax.Array

    def initial(self, load_mw, rated_mw):
        return load_mw

    def command(self, state, measured, tick, dt_s):
        turn = 2.0 * jnp.pi * self.cutoff_hz * dt_s
        gain, error = -jnp.expm1(-turn), measured.load_mw - state
        return state + gain * error, gain / turn * error


def test_a_controller_of_ones_own_does_what_the_same_one_of_the_program_does(scenario, x64):
    """Value and gradients, by what it orders and by the restoration that is the plant's."""
    layout, params, state, inputs = em.build(scenario)

    def energy(params, state):
        return jnp.square(em.rollout(layout, params, state, inputs)[1].pcc_mw).sum()

    def own(controller):
        return energy(*em.with_controller(layout, params, controller))

    numbers = Own(jnp.asarray(0.1), jnp.asarray(0.2))
    value, slope = jax.jit(jax.value_and_grad(own), compiler_options=QUICKLY)(numbers)
    its, given = jax.jit(jax.value_and_grad(energy), compiler_options=QUICKLY)(params, state)
    expected = given.sites[0].storage.controller
    # The program's state is a compensated sum, this one a plain one: 100 ticks of rounding, of sums of 100 ticks.
    np.testing.assert_allclose(value, its, rtol=1e-12)
    np.testing.assert_allclose([slope.cutoff_hz, slope.soc_gain], [expected.cutoff_hz, expected.soc_gain], rtol=1e-10)
    assert slope.cutoff_hz != 0.0 and slope.soc_gain != 0.0


class Unregistered(em.Controller):
    def initial(self, load_mw, rated_mw):
        return ()

    def command(self, state, measured, tick, dt_s):
        return state, measured.load_mw


class Unfinished(em.Controller):
    def initial(self, load_mw, rated_mw):
        return ()


def test_a_controller_that_orders_nothing_cannot_be_made():
    with pytest.raises(TypeError, match="abstract .*'?command'?"):
        Unfinished()


@pytest.mark.parametrize(
    ("controller", "site", "kind", "said"),
    [
        (3, 0, TypeError, "3 is a int; wanted: a Controller, as from a class of your own"),
        (Unregistered(), 0, TypeError, "Unregistered is no pytree: register it"),
        (Own(0.1, 0.2), 1, ValueError, "site 1: there are 1, numbered from 0"),
    ],
)
def test_what_is_no_controller_is_refused(scenario, controller, site, kind, said):
    layout, params, *_ = em.build(scenario)
    with pytest.raises(kind, match=said):
        em.with_controller(layout, params, controller, site)


def test_a_site_without_a_battery_has_nothing_to_control(config, tmp_path):
    text = config.read_text()
    battery = text[text.index("[site.bess]") : text.index("[[grid.area]]")]
    (tmp_path / "bare.toml").write_text(text.replace(battery, ""))
    layout, params, *_ = em.build(em.load(tmp_path / "bare.toml"))
    with pytest.raises(ValueError, match=r"site 0 has no battery to control: give it \[site.bess\]"):
        em.with_controller(layout, params, Own(0.1, 0.2))
