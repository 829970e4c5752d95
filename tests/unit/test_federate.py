"""`wattswing federate` among other HELICS federates, over the loopback interface."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path

import helics
import numpy as np
import pytest

from emulator import cli, config, cosimulate, simulate
from emulator.complaint import ConfigError
from emulator.federation import Federation, FederationError
from emulator.traces import hdf5
from tests.physics.test_cosimulation import COSIM, SITE, Beside, cosimulated

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(ROOT / ".jax_cache"), "XLA_FLAGS": ""}


BELOW_THE_SYSTEMS = range(20_000, 32_000, 2)  # which gives away ports from 32,768 on, also beside one that is free


def free(port: int) -> bool:
    """Whether nobody listens; a broker takes a port and the next."""
    with socket.socket() as its:
        try:
            its.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@pytest.fixture
def joining(tmp_path):
    """A configuration whose broker is at a free port: path, and port."""
    port = next(port for port in random.SystemRandom().sample(BELOW_THE_SYSTEMS, 1000) if free(port) and free(port + 1))
    path = tmp_path / "a.toml"
    broker = f'    broker = "tcp://127.0.0.1:{port}"\n    timeout_s = 2.0\n'
    path.write_text(textwrap.dedent(SITE.replace("duration_s = 2.0", "duration_s = 1.0") + COSIM + broker))
    return path, port


@pytest.fixture
def broker(joining):
    """Starts a broker that waits for so many federates."""
    started = []

    def start(federates: int) -> None:
        started.append(helics.helicsCreateBroker("zmq", "", f"-f {federates} --loglevel=no_print --port={joining[1]}"))

    yield start
    for its in started:
        helics.helicsBrokerDisconnect(its)


def another(port: int, name: str):
    """A federate of this test's own."""
    info = helics.helicsCreateFederateInfo()
    helics.helicsFederateInfoSetCoreTypeFromString(info, "zmq")
    helics.helicsFederateInfoSetCoreInitString(
        info, f"--loglevel=no_print --networktimeout=20s --broker=tcp://127.0.0.1:{port}"
    )
    helics.helicsFederateInfoSetFlagOption(info, helics.HELICS_FLAG_UNINTERRUPTIBLE, True)
    return helics.helicsCreateValueFederate(name, info)


@contextmanager
def beside(command, **options):
    """A process that does not outlive the test."""
    with subprocess.Popen(command, env=ENVIRONMENT, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def test_two_federates_do_what_two_parts_of_a_program_do(joining):
    """The script's grid in a process of its own, with the broker, against the same grid called directly."""
    path, _ = joining
    its = config.load(path, ["cosim.timeout_s=60.0"])
    with beside([sys.executable, ROOT / "scripts/cosimulate_grid.py", path]) as script:
        with Federation(its) as grid:
            trace, outcome = cosimulated(its, grid)
            ages = grid.ages()
        assert script.wait(30) == 0
    assert outcome.complete and len(trace.time_s) == 1000
    assert ages == {"grid/frequency_hz": 1.0, "grid/voltage_pu": 1.0}
    direct, _ = cosimulated(its, Beside(its))
    assert np.ptp(direct.area_frequency_hz) > 0.1 and np.ptp(direct.site_pcc_voltage_pu) > 0.01
    for channel in ("area_frequency_hz", "site_pcc_voltage_pu", "site_pcc_power_mw", "site_pcc_reactive_mvar"):
        # The starts differ by what HELICS leaves of the iteration: a part in a million.
        np.testing.assert_allclose(getattr(trace, channel), getattr(direct, channel), rtol=4 * 1e-6)


def test_no_broker(joining):
    with pytest.raises(FederationError, match="cosim.broker: no HELICS broker at tcp.* within 2 s: start one"):
        Federation(config.load(joining[0]))


def test_a_name_that_is_taken(joining, broker):
    broker(2)
    first = another(joining[1], "wattswing")
    with pytest.raises(FederationError, match="another federate .* is called 'wattswing': give it another name"):
        Federation(config.load(joining[0]))
    helics.helicsFederateDisconnect(first)


@pytest.mark.parametrize(
    ("federates", "message"),
    [(2, "not all there after 2 s"), (1, "required but has no connection .to be taken from grid/")],
    ids=["others late", "nobody publishes"],
)
def test_a_federation_that_does_not_start(joining, broker, federates, message):
    broker(federates)
    its = config.load(joining[0])
    draw = cosimulate.Draw(np.ones(1), np.ones(1))
    with Federation(its) as grid, pytest.raises(FederationError, match=message):
        grid.begin(lambda given: draw)


def test_control_c_while_another_federate_takes_its_time(joining, broker, tmp_path):
    """It comes to 0.1 s, and no further: what was emulated up to there, or one step more, is in a closed trace."""
    broker(2)
    path, port = joining
    other = another(port, "grid")
    units = {"frequency_hz": "Hz", "voltage_pu": "pu"}
    double = helics.HELICS_DATA_TYPE_DOUBLE
    outputs = {key: helics.helicsFederateRegisterPublication(other, key, double, unit) for key, unit in units.items()}
    helics.helicsFederateRegisterSubscription(other, "wattswing/campus/power_mw", "kW")  # so it waits for it
    command = [sys.executable, "-m", "emulator", "federate", path, "--out", tmp_path / "a.h5"]
    command += ["--set", "cosim.timeout_s=60.0"]
    with beside(command, stderr=subprocess.PIPE, text=True) as program:
        helics.helicsFederateEnterInitializingMode(other)
        helics.helicsPublicationPublishDouble(outputs["frequency_hz"], 60.0)  # of the voltage it says nothing
        helics.helicsFederateEnterExecutingMode(other)
        assert helics.helicsFederateRequestTime(other, 0.1) == 0.1  # once the program has come as far
        program.send_signal(signal.SIGINT)
        _, words = program.communicate(timeout=30)
    assert program.returncode == 130 and "holds all rows up to here" in words
    assert "warning: grid/voltage_pu has no value at the start: nominal until one comes" in words
    trace = hdf5.read(tmp_path / "a.h5")
    assert (trace.complete, trace.stop_reason) == (False, "interrupted")
    assert len(trace.time_s) in (100, 120)


BAD = (
    ("step_s = 0.0205", "cosim.step_s: is 0.0205, no whole number of ticks of 0.001 s; nearest: 0.02"),
    ("step_s = 0.3", "cosim.step_s: is 0.3 s, must divide run.duration_s = 2 s"),
    ('frequency_hz = {mian = "k"}', "cosim.frequency_hz.mian: no such area; nearest: main"),
    ('voltage_pu = {campsu = "k"}', "cosim.voltage_pu.campsu: no such site; nearest: campus"),
    ('broker = "localhost"', "cosim.broker"),
    ('federate = "a/b"', "cosim.federate"),
    ('frequency = "k"', "cosim.frequency: unknown key; nearest: frequency_hz"),
)


@pytest.mark.parametrize(("line", "message"), BAD)
def test_bad_tables(scenario, line, message):
    table = "    [cosim]\n    step_s = 0.02\n"
    text = table.replace("step_s = 0.02", line) if line.startswith("step_s") else f"{table}    {line}\n"
    with pytest.raises(ConfigError) as caught:
        scenario(SITE + text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("record.every_ticks=50", "record.every_ticks: is 50, must divide the 20 ticks of cosim.step_s"),
        ("site.0.bess.mode='grid_forming'", "'grid_forming' needs the areas emulated here"),
        (
            "site.0.controller={kind='lqr',cutoff_hz=0.1,grid_mw=1.0,order_mw=5.0}",
            "'lqr' feeds back states of areas emulated here",
        ),
        ("site.0.power_limit={max_mw=20.0}", "which must be the 20 ticks of cosim.step_s"),
    ],
)
def test_what_does_not_go_with_a_grid_outside(scenario, override, message):
    with pytest.raises(ConfigError) as caught:
        scenario(SITE + COSIM, override)
    assert message in str(caught.value)


def test_arguments_that_lead_nowhere(capsys, monkeypatch):
    assert cli.main(["federate", "campus_100mw"]) == 2
    assert "no table [cosim]" in capsys.readouterr().err
    monkeypatch.setattr("emulator.commands.federate.find_spec", lambda name: None)
    assert cli.main(["federate", "cosimulation"]) == 2
    assert "pip install 'wattswing[helics]'" in capsys.readouterr().err


def test_the_origin_of_keys_taken_is_shown(capsys):
    assert cli.main(["check", "cosimulation", "--set", "cosim.voltage_pu.campus='bus'"]) == 0
    lines = {line.split(" = ")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "# cosimulation.toml:" in lines["frequency_hz"] and "grid/frequency_hz" in lines["frequency_hz"]
    assert '"campus" = "bus"' in lines["voltage_pu"] and "# --set" in lines["voltage_pu"]


def test_the_table_survives_being_written(scenario, tmp_path):
    """The configuration in a trace's header federates again."""
    its = scenario(SITE + COSIM)
    (tmp_path / "again.toml").write_text(simulate.header_of(its).config)
    assert config.load(tmp_path / "again.toml") == its
