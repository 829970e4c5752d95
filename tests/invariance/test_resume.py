"""A run that goes on from a checkpoint gives the numbers of one that was never cut short, to the bit."""

from __future__ import annotations

import copy
import functools
from dataclasses import replace

import numpy as np
import pytest

from emulator import checkpoint, simulate
from emulator.account import Account
from emulator.carry import gather, scatter
from emulator.trace import CHANNELS, WATCHED, Trace
from emulator.traces import state_file

# Everything that carries a state: orders a chunk late, faults, pauses, servers' queues, a replayed file, batteries with
# delay, cells and wear, a filter, governors, reserves, shafts, relays; devices and racks with rows of their own.
EVERYTHING = """
    [run]
    duration_s = 5.0
    dt_s = 0.005
    chunk_ticks = 50
    seed = 3
    [record]
    every_ticks = 2
    device_every_ticks = 5
    groups = true
    devices = [{{job = "train", first = 3, count = 2}}]
    racks = [{{job = "train", count = 1}}]
    [[site]]
    name = "campus"
    area = "west"
    power_limit = {{max_mw = 0.06, gain = 0.2}}
    pcc = {{short_circuit_ratio = 8.0, x_over_r = 10.0, nominal_kv = 20.0, rated_mw = 1.0}}
    [[site.job]]
    name = "train"
    kind = "training"
    devices = 64
    accelerator = {{idle_w = 75.0, tdp_w = 700.0, gain_spread = 0.03, response_s = 0.02, cap_min_w = 200.0}}
    [site.job.workload]
    jitter = 0.05
    fault = {{rate_per_device_hour = 40.0, stall_s = 0.2, ramp_s = 0.1}}
    [[site.job.workload.phase]]
    name = "compute"
    duration_s = 0.4
    level = 0.9
    noise = 0.05
    spread_s = 0.05
    barrier = true
    wait_level = 0.3
    [[site.job.workload.phase]]
    name = "exchange"
    duration_s = 0.1
    level = 0.2
    [[site.job]]
    name = "serve"
    kind = "inference"
    devices = 64
    accelerator = {{idle_w = 75.0, tdp_w = 700.0}}
    [site.job.service]
    requests_per_s = 4.0
    prefill_s = 0.1
    decode_s = 0.5
    batch = 4
    prefill_level = 0.9
    decode_level_min = 0.3
    decode_level_max = 1.0
    [[site.job]]
    name = "measured"
    kind = "replay"
    path = "{path}"
    time_column = "t_s"
    power_column = "p_mw"
    repeat = true
    [site.bess]
    power_mw = 0.005
    energy_mwh = 0.0001
    response_s = 0.02
    delay_s = 0.03
    ageing = {{cycles_at_full_depth = 5000.0, depth_exponent = 1.5}}
    [[site.store]]
    name = "fast"
    power_mw = 0.02
    energy_mwh = 0.00001
    [site.controller]
    kind = "moving_average"
    window_s = 1.0
    [[grid.area]]
    name = "west"
    rated_mva = 2.0
    load_mw = 1.0
    inertia_s = 4.0
    governor = [{{model = "reheat"}}]
    agc = {{bias_mw_per_hz = 1.0, cycle_s = 0.5, reserve_mw = 0.2}}
    shedding = [{{frequency_hz = 59.8, share = 0.05}}]
    [[grid.area]]
    name = "east"
    rated_mva = 2.0
    load_mw = 1.0
    inertia_s = 5.0
    governor = [{{model = "tgov1"}}]
    [[grid.tie]]
    between = ["west", "east"]
    synchronizing_mw_per_rad = 2.0
    [[disturbance]]
    kind = "load_step"
    at_s = 2.2
    area = "west"
    mw = 0.3
"""


class Recorder:
    """Keeps all checkpoints, and what the account held at each."""

    def __init__(self) -> None:
        self.checkpoints: list[checkpoint.Checkpoint] = []

    def due(self) -> bool:
        return True

    def keep(self, checkpoint: checkpoint.Checkpoint) -> None:
        self.checkpoints.append(checkpoint)


@pytest.fixture
def long_run(scenario, tmp_path, monkeypatch):
    """A scenario of five windows."""
    rows = [f"{0.1 * i:.1f},{0.01 + 0.002 * (i % 7)}\n" for i in range(13)]
    (tmp_path / "load.csv").write_text("t_s,p_mw\n" + "".join(rows))
    monkeypatch.setattr(simulate, "WINDOW_TICKS", 200)
    found = scenario(EVERYTHING.format(path=tmp_path / "load.csv"))
    compiled = functools.cache(simulate._compile)
    monkeypatch.setattr(simulate, "_compile", lambda its: compiled(its))
    return found


def test_every_checkpoint_goes_on_to_the_same_bits(long_run, tmp_path, monkeypatch):
    """From each of them, by way of its file: rows, events and metrics; and the account holds all that it held."""
    accounts: list[Account] = []
    take = checkpoint.take

    def watched_take(made_with, state, account, wall_s):
        accounts.append(copy.deepcopy(account))
        return take(made_with, state, account, wall_s)

    monkeypatch.setattr(checkpoint, "take", watched_take)
    header, recorder = simulate.header_of(long_run), Recorder()
    whole = simulate.Memory(header)
    simulate.stream(long_run, header, whole, keeper=recorder)
    trace = whole.trace()
    assert len(recorder.checkpoints) == 5 and len(trace.events) > 10
    assert {event.kind for event in trace.events} >= {"fault", "load_step", "bess_power_limit"}
    for number in (0, 1, 3):
        at = tmp_path / "state"
        state_file.write(at, recorder.checkpoints[number], state_file.Surroundings(0, 0, *[np.zeros(0)] * 3))
        start, _ = state_file.read(at)
        fresh = Account(long_run, header, simulate._compile(long_run).layout)
        scatter(fresh, checkpoint.ACCOUNT, start.arrays)
        assert everything(fresh) == everything(accounts[number])
        rest = simulate.Memory(header)
        simulate.stream(long_run, header, rest, start=start)
        assert_same_rest(rest.trace(), trace, first_row=100 * number, first_device_row=40 * number)


def assert_same_rest(rest: Trace, whole: Trace, first_row: int, first_device_row: int) -> None:
    for channel in (*CHANNELS, *WATCHED):
        first = first_device_row if channel in WATCHED else first_row
        expected = getattr(whole, channel.name)[first:]
        assert expected.size or not whole.header.labels[channel.axis], channel.name
        assert getattr(rest, channel.name).tobytes() == expected.tobytes(), channel.name
    begin_s = whole.time_s[first_row]
    assert rest.events == tuple(event for event in whole.events if event.time_s >= begin_s)
    assert repr(rest.metrics) == repr(whole.metrics)


def everything(thing: object) -> object:
    """All that an object holds, however deep, as comparable text; a list of arrays is one array, cut anywhere."""
    if isinstance(thing, np.ndarray):
        return thing.dtype, thing.shape, thing.tobytes()
    if isinstance(thing, list) and thing and all(isinstance(part, np.ndarray) for part in thing):
        return everything(np.concatenate(thing))
    if isinstance(thing, dict):
        return {key: everything(child) for key, child in thing.items() if key not in MADE_ANEW}
    if isinstance(thing, list | tuple):
        return [everything(child) for child in thing]
    if hasattr(thing, "__dict__") and type(thing).__module__.startswith("emulator."):
        return everything(vars(thing))
    return repr(thing)


MADE_ANEW = ("_totals", "ticks")  # by every window, from its own state


def test_gathered_values_are_copies():
    """The account goes on while a checkpoint waits to be written."""
    values = np.zeros(3)
    (found,) = dict(gather({"x": values}, "at")).values()
    values += 1.0
    assert found.tolist() == [0.0, 0.0, 0.0]


def test_what_the_numbers_depend_on(long_run, tmp_path):
    """Also the replayed file, which the configuration only names."""
    header = simulate.header_of(long_run)
    before = checkpoint.made_with(long_run, header)
    (tmp_path / "load.csv").write_text("t_s,p_mw\n0.0,1.0\n1.0,1.0\n")
    after = checkpoint.made_with(long_run, replace(header, platform="gpu"))
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {"platform", f"SHA-256 of {tmp_path / 'load.csv'}"}
