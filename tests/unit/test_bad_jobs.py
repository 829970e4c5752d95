"""Jobs, topologies and windows of a record that do not fit are refused in words, each at its key."""

from __future__ import annotations

import pytest

from emulator.complaint import ConfigError

GOOD = """
    [run]
    duration_s = 10.0
    [[site]]
    name = "campus"
    hall = [{name = "a", racks = 2}, {name = "b", racks = 1}]
    [[site.job]]
    name = "train"
    kind = "training"
    devices = 96
    accelerator = {idle_w = 100.0, tdp_w = 1000.0, edp_fraction = 1.2, cap_min_w = 300.0}
    smoothing = {floor_fraction = 0.5, ramp_up_w_per_s = 100.0, ramp_down_w_per_s = 100.0}
    cap = [{at_s = 1.0, power_w = 500.0}, {at_s = 2.0}]
    [site.job.workload]
    pipeline_stages = 4
    checkpoint = {period_s = 5.0, duration_s = 1.0, level = 0.1}
    [[site.job.workload.phase]]
    name = "compute"
    duration_s = 0.9
    level = 1.0
    stage_delay_s = 0.01
    [[site.job.workload.phase]]
    name = "exchange"
    duration_s = 0.1
    level = 0.1
"""
JOB, WORKLOAD = "site.0.job.0", "site.0.job.0.workload"
MODEL = (
    "{parameters = 1e9, tokens_per_step = 1000000, microbatches = 8, tensor_parallel = 8, pipeline_parallel = 4, "
    "peak_tflops = 989.0, mfu = 0.4, link_gb_per_s = 50.0, memory_gb_per_s = 3350.0, compute_level = 0.9, noise = 0.0}"
)


def problems(scenario, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        scenario(GOOD, *overrides)
    return str(caught.value)


def test_the_good_one_is_good(scenario):
    scenario(GOOD)


@pytest.mark.parametrize(
    ("override", "key", "said"),
    [
        (f"{JOB}.devices=0", f"{JOB}.devices", ">= 1"),
        (f"{WORKLOAD}.phase=[]", f"{WORKLOAD}.phase", "give phases, or a model"),
        (f"{WORKLOAD}.iteration_s=1.1", f"{WORKLOAD}.iteration_s", "the phases take 1 s together"),
        (
            f"{WORKLOAD}.phase.0.level=1.3",
            f"{WORKLOAD}.phase.0.level",
            "1270 W: above the accelerator's EDP peak of 1200 W",
        ),
        (f"{WORKLOAD}.phase.1.wait_level=1.3", f"{WORKLOAD}.phase.1.wait_level", "above the accelerator's EDP peak"),
        (f"{WORKLOAD}.checkpoint.level=1.3", f"{WORKLOAD}.checkpoint.level", "above the accelerator's EDP peak"),
        (f"{WORKLOAD}.checkpoint.period_s='young_daly'", f"{WORKLOAD}.checkpoint.period_s", "needs workload.fault"),
        (f"{WORKLOAD}.pipeline_stages=97", f"{WORKLOAD}.pipeline_stages", "at most devices = 96"),
        (f"{WORKLOAD}.pipeline_stages=1", f"{WORKLOAD}.phase.0.stage_delay_s", "pipeline_stages above 1"),
        (f"{WORKLOAD}.phase.1.stage_delay_s=0.1", f"{WORKLOAD}.phase.1.stage_delay_s", "needs a barrier"),
        (f"{WORKLOAD}.slow_fraction=0.1", f"{WORKLOAD}.slow_by", "go together"),
        (f"{WORKLOAD}.model={MODEL}", f"{WORKLOAD}.phase", "both phases and a model"),
        (f"{JOB}.smoothing.floor_fraction=0.05", f"{JOB}.smoothing.floor_fraction", "above idle_w / tdp_w = 0.1"),
        (f"{JOB}.smoothing.ceiling_fraction=0.4", f"{JOB}.smoothing.floor_fraction", "below ceiling_fraction = 0.4"),
        (f"{JOB}.smoothing.secondary_floor_w=600.0", f"{JOB}.smoothing.secondary_floor_w", "below the floor, 500 W"),
        (f"{JOB}.cap.0.power_w=200.0", f"{JOB}.cap.0.power_w", "cap_min_w = 300 W"),
        (f"{JOB}.cap.0.power_w=1001.0", f"{JOB}.cap.0.power_w", "tdp_w = 1000 W"),
        (f"{JOB}.cap.1.at_s=1.0", f"{JOB}.cap", "each after the one before"),
        (f"{JOB}.runs_s=[[0, 5], [4, 6]]", f"{JOB}.runs_s.1", "before the run before it has ended, at 5 s"),
        (f"{JOB}.runs_s=[[5, 4]]", f"{JOB}.runs_s.0", "to a later time"),
        (f"{JOB}.accelerator.edp_duration_s=1.0", f"{JOB}.accelerator.edp_duration_s", "below edp_window_s"),
        (f"{JOB}.accelerator.idle_w=1000.0", f"{JOB}.accelerator.idle_w", "below tdp_w"),
        (f"{JOB}.dummy_work={{floor_fraction = 0.5, period_s = 0.0005}}", f"{JOB}.dummy_work.period_s", "run.dt_s"),
        ("site.0.hall.1.racks=0", "site.0.hall.1.racks", ">= 1"),
        ("site.0.hall.1.name='a'", "site.0.hall.1.name", "names must differ"),
        (f"{JOB}.devices=100", "site.0.hall", "halls hold 3 racks, the jobs need 4"),
        ("record.devices=[{job = 'train', count = 97}]", "record.devices.0.count", "96 devices, 0 to 95"),
        ("record.racks=[{job = 'train', count = 4}]", "record.racks.0.count", "3 racks, 0 to 2"),
        ("record.devices=[{job = 'tran', count = 1}]", "record.devices.0.job", "train"),
        (
            "record.devices=[{job = 'train', count = 8}, {job = 'campus/train', first = 7, count = 2}]",
            "record.devices.1.first",
            "overlaps",
        ),
        ("record.device_every_ticks=3", "record.device_every_ticks", "divide run.chunk_ticks = 100"),
        ("run.dt_s=0.1", f"{JOB}.accelerator.edp_duration_s", "too short for ticks of 0.1 s"),
    ],
)
def test_refused_at_its_key(scenario, override, key, said):
    text = problems(scenario, override)
    assert f"{key}: " in text and said in text, text


def test_a_model_that_does_not_fit_its_devices(scenario):
    text = problems(scenario, f"{WORKLOAD}={{model = {MODEL}}}", f"{JOB}.devices=90")
    assert f"{JOB}.devices: " in text


CLOCK = f"{JOB}.clock='both'"


def two_sites() -> str:
    """The good scenario with a second site like the first, to a job of the same clock."""
    site = GOOD[GOOD.index("    [[site]]") :]
    return GOOD + site.replace('"campus"', '"other"').replace("devices = 96", "devices = 96\n    clock = 'both'")


FREE = "smoothing", "cap"  # without these nothing withholds power
UNLIKE = "site.1.job.train.accelerator.idle_w=90.0"


def alone(scenario, *overrides: str):
    """Two jobs of one clock at sites of their own, from whose powers nothing is withheld but what is given."""
    text = "\n".join(line for line in two_sites().splitlines() if not line.strip().startswith(FREE))
    return scenario(text, CLOCK, "site.0.hall=[]", "site.1.hall=[]", *overrides)


@pytest.mark.parametrize(
    ("key", "different"),
    [
        ("devices", "devices=95"),
        ("workload", "workload.phase.exchange.level=0.2"),
        ("cap", "cap=[{at_s=1.0, power_w=400.0}]"),
        ("smoothing", "smoothing.floor_fraction=0.4"),
        ("dummy_work", "dummy_work={period_s=0.1, floor_fraction=0.3}"),
        ("accelerator", "accelerator.idle_w=90.0"),
    ],
)
def test_jobs_of_one_clock_must_be_alike(scenario, key, different):
    with pytest.raises(ConfigError, match=rf"'train', which differs in {key}: they cannot keep in step"):
        scenario(two_sites(), CLOCK, "site.0.hall=[]", "site.1.hall=[]", f"site.1.job.train.{different}")


@pytest.mark.parametrize(
    "withholds",
    [
        "job.train.cap=[{at_s=1.0, power_w=400.0}]",
        "job.train.smoothing={floor_fraction=0.5, ramp_up_w_per_s=100.0, ramp_down_w_per_s=100.0}",
    ],
)
def test_accelerators_of_one_clock_differ_only_where_nothing_is_withheld(scenario, withholds):
    """The length of an iteration then does not depend on them."""
    alone(scenario, UNLIKE)
    both = f"site.0.{withholds}", f"site.1.{withholds}"
    alone(scenario, *both)
    with pytest.raises(ConfigError, match="differs in accelerator"):
        alone(scenario, *both, UNLIKE)


@pytest.mark.parametrize("sites", [(0,), (1,), (0, 1)])
def test_sites_that_order_caps_pull_the_jobs_of_one_clock_apart(scenario, sites):
    with pytest.raises(ConfigError, match=r"differs in .*site\.power_limit"):
        alone(scenario, *(f"site.{i}.power_limit={{max_mw = 1.0}}" for i in sites))


def test_a_site_that_orders_caps_keeps_its_own_jobs_of_one_clock_in_step(scenario):
    job = GOOD[GOOD.index("    [[site.job]]") :]
    twins = GOOD + job.replace('"train"', '"twin"').replace("devices = 96", "devices = 96\n    clock = 'both'")
    loaded = scenario(twins, CLOCK, "site.0.hall=[]", "site.0.power_limit={max_mw = 1.0}")
    assert loaded.site[0].job[1].clock == "both"


def test_jobs_of_one_clock_that_are_alike(scenario):
    assert scenario(two_sites(), CLOCK).site[1].job[0].clock == "both"


def test_too_many_watched_devices(scenario):
    wide = f"{JOB}.devices=5000", "site.0.hall=[]", "record.devices=[{job = 'train', count = 5000}]"
    assert "at most 4096" in problems(scenario, *wide)
