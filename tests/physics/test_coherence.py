"""How devices of a job and jobs of a site add up: skew and spread against their closed forms, N against sqrt(N)."""

from __future__ import annotations

import numpy as np
import pytest

from emulator.coherence import in_bands

PULSE = """
    [run]
    duration_s = 4.0
    dt_s = 0.001
    [[site]]
    name = "campus"
    [[site.job]]
    name = "train"
    kind = "training"
    devices = 20000
    accelerator = {idle_w = 0.0, tdp_w = 1000.0}
    [[site.job.workload.phase]]
    name = "wait"
    duration_s = 0.6
    level = 0.0
    [[site.job.workload.phase]]
    name = "compute"
    duration_s = 0.3
    level = 1.0
    [[site.job.workload.phase]]
    name = "exchange"
    duration_s = 2.1
    level = 0.0
    [[site.job.workload.phase]]
    name = "rest"
    duration_s = 100.0
    level = 0.0
"""
N = 20_000  # devices of 0 to 1 kW
WAIT, COMPUTE = "site.0.job.0.workload.phase.0.", "site.0.job.0.workload.phase.1."


def transform(power_mw: np.ndarray, f_hz: float, dt_s: float) -> complex:
    """Fourier integral of tick means, MW s; the tick's own sinc is common to what is compared."""
    phase = np.exp(-2j * np.pi * f_hz * dt_s * np.arange(len(power_mw)))
    return complex(np.sum(power_mw.astype(np.float64) * phase) * dt_s)


ROUNDED = 2 * np.pi * 10.0 * 0.001 * 2.0**-12  # event times are good to 2^-12 ticks: phase at up to 10 Hz


def modulus_error(gain: float, twice: float) -> float:
    """Three s.d. of the modulus of the mean of N unit phasors e^(j a): `gain` = E cos a, `twice` = E cos 2a.

    Along the mean the variance of one is (1 + twice)/2 - gain^2. Across, it is (1 - twice)/2; that lengthens the mean
    by half its square over the gain, but by no more than itself.
    """
    along, across = 3 * np.sqrt(np.array([(1 + twice) / 2 - gain**2, (1 - twice) / 2]) / N)
    return along + min(across, across**2 / (2 * max(gain, 1e-9))) + ROUNDED


@pytest.mark.parametrize(("f_hz", "spread_s", "gain"), [(1.0, 0.02, 0.9921), (1.0, 0.1, 0.8209), (3.0, 0.05, 0.6414)])
def test_spread_of_durations_takes_its_gaussian_from_a_pulse(emulate, f_hz, spread_s, gain):
    """R19. Devices wait 0.6 s, s.d. s, then compute 0.3 s: each one's pulse is late by s z, and the job's transform is
    exp(-(2 pi f s)^2/2) of that of devices in step, at any f."""
    in_step = transform(emulate(PULSE).job_power_mw[:, 0], f_hz, 0.001)
    spread = transform(emulate(PULSE, f"{WAIT}spread_s={spread_s}").job_power_mw[:, 0], f_hz, 0.001)
    exact = np.exp(-0.5 * (2 * np.pi * f_hz * spread_s) ** 2)
    assert exact == pytest.approx(gain, abs=5e-5)
    # The pulse's own transform has 300 ms: at 3 Hz it is small, but not 0.
    assert abs(in_step) == pytest.approx(20.0 * abs(np.sin(np.pi * f_hz * 0.3) / (np.pi * f_hz)), rel=1e-4)
    assert abs(spread / in_step) == pytest.approx(exact, abs=modulus_error(exact, exact**4))


@pytest.mark.parametrize("f_hz", [0.5, 1.0, 2.0, 4.0, 7.0])
def test_spread_of_the_phase_itself_touches_its_end_only(emulate, f_hz):
    """The rise is common, the fall is spread: |1 - g e^(-j w d)| / |1 - e^(-j w d)|, g the Gaussian."""
    spread_s = 0.04
    in_step = transform(emulate(PULSE).job_power_mw[:, 0], f_hz, 0.001)
    spread = transform(emulate(PULSE, f"{COMPUTE}spread_s={spread_s}").job_power_mw[:, 0], f_hz, 0.001)
    turn, g = np.exp(-2j * np.pi * f_hz * 0.3), np.exp(-0.5 * (2 * np.pi * f_hz * spread_s) ** 2)
    error = 3 * np.sqrt((1 - g**2) / N) + ROUNDED  # of the mean phasor, whichever way
    assert abs(spread / in_step) == pytest.approx(abs(1 - g * turn) / abs(1 - turn), abs=error / abs(1 - turn))


@pytest.mark.parametrize("skew_s", [0.05, 0.2])
@pytest.mark.parametrize("f_hz", [1.0, 2.0, 5.0])
def test_release_skew_takes_its_sinc_from_a_pulse(emulate, f_hz, skew_s):
    """|sin(pi f W)/(pi f W)|; 5 Hz and 0.2 s: a whole turn, nothing is left."""
    in_step = transform(emulate(PULSE).job_power_mw[:, 0], f_hz, 0.001)
    skewed = transform(emulate(PULSE, f"{WAIT}release_skew_s={skew_s}").job_power_mw[:, 0], f_hz, 0.001)
    gain = np.sinc(f_hz * skew_s)
    assert abs(skewed / in_step) == pytest.approx(gain, abs=modulus_error(gain, np.sinc(2 * f_hz * skew_s)))


CYCLE = """
    [run]
    duration_s = 21.0
    dt_s = 0.001
    [[site]]
    name = "campus"
    [[site.job]]
    name = "train"
    kind = "training"
    devices = 20000
    accelerator = {idle_w = 0.0, tdp_w = 1000.0}
    [[site.job.workload.phase]]
    name = "compute"
    duration_s = 0.45
    level = 1.0
    release_skew_s = 0.1
    barrier = true
    wait_level = 0.0
    [[site.job.workload.phase]]
    name = "exchange"
    duration_s = 0.45
    level = 0.0
"""


def test_release_skew_takes_its_sinc_from_the_fundamental_of_a_running_job(emulate):
    """Skew 0.1 s makes iterations of 1 s: compute of 0.45 s, entered evenly over 0.1 s, all released by the last one.
    The fundamental of 20 iterations is 2/pi sin(0.45 pi) sinc(0.1) of the peak. The last of N leaves W/N early, 20
    times over 1e-4 s: the twentieth iteration is out of phase by 2 pi 1e-4 at most."""
    power = emulate(CYCLE).job_power_mw[1000:, 0]
    fundamental = 2 * abs(transform(power, 1.0, 0.001)) / 20.0
    in_step = 20.0 * 2 / np.pi * np.sin(0.45 * np.pi)
    gain = np.sinc(0.1)
    assert gain == pytest.approx(0.9836, abs=5e-5)
    assert fundamental / in_step == pytest.approx(gain, abs=modulus_error(gain, np.sinc(0.2)) + 2 * np.pi * 1e-4)


def jobs(count: int, devices: int, *, clock: str = "") -> str:
    """Jobs with their own rates and rhythms, or with a common clock."""
    text = '[run]\nduration_s = 140.0\ndt_s = 0.01\n[[site]]\nname = "campus"\n'
    for i in range(count):
        text += f"""
            [[site.job]]
            name = "job{i}"
            kind = "training"
            devices = {devices}
            {clock}
            accelerator = {{idle_w = 0.0, tdp_w = 1000.0}}
            [site.job.workload]
            rate_spread = 0.2
            jitter = 0.1
            [[site.job.workload.phase]]
            name = "compute"
            duration_s = 0.6
            level = 1.0
            [[site.job.workload.phase]]
            name = "exchange"
            duration_s = 0.4
            level = 0.0
        """
    return text.replace("\n            ", "\n")


BAND = (0.5, 2.0)


def cross_error(power_mw: np.ndarray, dt_s: float) -> float:
    """Standard error of rho of independent series with these spectra: Re X_i X_j* has variance S_i S_j / 2 in a bin."""
    lines = np.abs(np.fft.rfft(power_mw - power_mw.mean(axis=0), axis=0)) ** 2
    f_hz = np.fft.rfftfreq(len(power_mw), dt_s)
    lines = lines[(f_hz >= BAND[0]) & (f_hz < BAND[1])]
    own = lines.sum(axis=0)
    pairs = np.sqrt(own).sum() ** 2 - own.sum()
    crossed = (lines.sum(axis=1) ** 2 - (lines**2).sum(axis=1)).sum()  # over i != j and bins
    return float(np.sqrt(crossed) / pairs)


def test_jobs_with_names_of_their_own_are_incoherent(emulate):
    """Eight jobs: rho is 0 within its error, and the swing of the sum is sqrt(8) of one's, not 8 times. All begin
    together; rates apart by 10 % s.d. and 10 % jitter per iteration forget that well before the first 40 s are over."""
    power = emulate(jobs(8, 1000)).job_power_mw[4000:].astype(np.float64)
    error = cross_error(power, 0.01)
    band = in_bands(power, 0.01, [BAND])[0]
    assert error < 0.03  # else 0 and coherence could not be told apart
    assert abs(band.rho) < 3 * error
    swing, one = power.sum(axis=1).std(), np.sqrt(np.mean(power.var(axis=0)))
    assert swing / one == pytest.approx(np.sqrt(8), rel=0.5 * 7 * 3 * error)  # sqrt(1 + 7 rho)


def test_jobs_with_a_clock_in_common_swing_together(emulate):
    power = emulate(jobs(3, 1000, clock='clock = "beat"')).job_power_mw.astype(np.float64)
    assert in_bands(power, 0.01, [BAND])[0].rho == pytest.approx(1.0, abs=1e-9)
    assert power.sum(axis=1).std() / power[:, 0].std() == pytest.approx(3.0, rel=1e-6)


def test_devices_of_a_job_swing_together(emulate):
    """Four times the devices, four times the swing: rho = 1 within a job, by its definition as a job."""
    few, many = (emulate(jobs(1, devices)).job_power_mw[:, 0].astype(np.float64) for devices in (100, 400))
    np.testing.assert_allclose(many, 4 * few, rtol=1e-5, atol=1e-6)


def test_devices_with_own_noise_beside_a_common_one_have_its_share_as_rho(emulate):
    """noise_coherence is rho of the noise: c of its variance is common to all devices, so that the variance of N is
    N s^2 [1 + (N - 1) c]. Watched one by one: 40 devices, c = 0.3.

    360 s at 0.1 s correlation hold 1800 independent values: rho of the common part is good to c (1 - c) sqrt(2/1800)
    and its cross terms with 40 own parts to sqrt(2 c (1 - c)/(40 x 1800)).
    """
    text = """
        [run]
        duration_s = 360.0
        dt_s = 0.02
        [record]
        devices = [{job = "train", count = 40}]
        [[site]]
        name = "campus"
        [[site.job]]
        name = "train"
        kind = "training"
        devices = 40
        accelerator = {idle_w = 0.0, tdp_w = 1000.0}
        [site.job.workload]
        noise_correlation_s = 0.1
        noise_coherence = 0.3
        [[site.job.workload.phase]]
        name = "compute"
        duration_s = 1000.0
        level = 0.5
        noise = 0.05
    """
    trace = emulate(text)
    c, devices = 0.3, trace.device_power_w.astype(np.float64)
    error = np.sqrt((c * (1 - c)) ** 2 * 2 / 1800 + 2 * c * (1 - c) / (40 * 1800))
    assert in_bands(devices, 0.02, [(0.0, 26.0)])[0].rho == pytest.approx(c, abs=3 * error)
    expected = 40 * 50.0**2 * (1 + 39 * c)
    assert (1e6 * trace.job_power_mw[:, 0].astype(np.float64)).var() == pytest.approx(
        expected, rel=3 * np.sqrt(2 / 1800)
    )
