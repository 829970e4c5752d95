"""Tables and keys of accelerators, workloads and jobs. W at the accelerator, s, shares of a device's range."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from emulator.model_schema import TrainingModel
from emulator.tables import IDEAL, PROGRAM, Name, Table, key

Span = Annotated[tuple[float, float], Field(strict=False)]  # from, to


class Phase(Table):
    """One stretch of a training iteration, as every device lives through it."""

    name: str = key("what the devices do")
    duration_s: float = key("mean time a device spends in it", unit="s", gt=0, le=1e5)
    level: float = key("power while in it: 0 and 1 as workload.level_of says", unit="1", ge=-1, le=2)
    level_jitter: float = key(
        "s.d. of the level from iteration to iteration, common to all devices", 0.0, unit="1", ge=0, le=1, source=IDEAL
    )
    noise: float = key(
        "s.d. of the fluctuation common to all devices while in it", 0.0, unit="1", ge=0, le=1, source=IDEAL
    )
    spread_s: float = key(
        "s.d. of a device's own duration about the mean, drawn per device and iteration",
        0.0,
        unit="s",
        ge=0,
        source=IDEAL,
    )
    release_skew_s: float = key(
        "devices enter it spread evenly over this time after a barrier", 0.0, unit="s", ge=0, source=IDEAL
    )
    stage_delay_s: float = key(
        "each pipeline stage enters it this much after the stage before, after a barrier",
        0.0,
        unit="s",
        ge=0,
        source=IDEAL,
    )
    end_shift: float = key(
        "half-width of an even, per-iteration shift of its end, as a share of the iteration, taken from the next phase",
        0.0,
        unit="1",
        ge=0,
        lt=0.5,
        source=IDEAL,
    )
    barrier: bool = key("at its end every device waits for the slowest", False, source=PROGRAM)
    wait_level: float | None = key(
        "power while waiting at the barrier; left out: the level of the phase", None, unit="1", ge=-1, le=2
    )


class Checkpoint(Table):
    """A pause between iterations in which the job writes its state."""

    period_s: float | Literal["young_daly"] = key(
        "time from the end of one to the start of the next, kept at the first barrier after it; young_daly: "
        "sqrt(2 duration_s MTBF) with the MTBF of workload.fault",
        unit="s",
    )
    duration_s: float = key("length of the pause", unit="s", gt=0, le=1e5)
    level: float = key("power meanwhile", unit="1", ge=-1, le=2)


class Evaluation(Table):
    """A pause between iterations in which the job is evaluated."""

    every: int = key("iterations between two of them", ge=1, le=1_000_000)
    duration_s: float = key("length of the pause", unit="s", gt=0, le=1e5)
    level: float = key("power meanwhile", unit="1", ge=-1, le=2)


class DataStall(Table):
    """Waiting for data at the start of an iteration, now and then."""

    probability: float = key("share of iterations that it strikes", unit="1", gt=0, le=1)
    duration_s: float = key("mean of its exponentially distributed length", unit="s", gt=0, le=1e4)
    level: float = key("power meanwhile", 0.0, unit="1", ge=-1, le=2, source="devices rest")


class Fault(Table):
    """A node fails: the whole job stops at once, waits, restarts in stages and repeats what it had not saved."""

    rate_per_device_hour: float = key("of faults that stop the job", unit="1/h", ge=0, le=1000)
    stall_s: float = key("from the fault to the restart", unit="s", ge=0, le=1e6)
    level: float = key("power during the stall", 0.0, unit="1", ge=-1, le=2, source="devices rest")
    ramp_s: float = key(
        "devices come back evenly over this time, then start together", 0.0, unit="s", ge=0, le=1e5, source=IDEAL
    )
    ramp_level: float = key(
        "power of a device that is back and waits for the others", 0.0, unit="1", ge=-1, le=2, source="devices rest"
    )


class Workload(Table):
    """A bulk-synchronous training iteration: phases in order, a barrier at the end of the last one."""

    level_of: Literal["range", "peak"] = key(
        "levels are shares of idle to peak (0 = idle) or of peak power (0 = nothing)", "range", source=PROGRAM
    )
    rate_spread: float = key(
        "half-width of an even draw of the iteration rate, once per job, relative",
        0.0,
        unit="1",
        ge=0,
        lt=1,
        source=IDEAL,
    )
    jitter: float = key(
        "s.d. of xi in T_i = T/(1 + xi), drawn per iteration", 0.0, unit="1", ge=0, le=0.15, source=IDEAL
    )
    noise_correlation_s: float = key(
        "correlation time of the phases' noise", 0.1, unit="s", gt=0, le=1e3, source="assumed: no published value"
    )
    iteration_s: float | None = key(
        "nominal length of the iteration: phases must add up to it; left out: what they add up to", None, unit="s", gt=0
    )
    noise_coherence: float = key(
        "share of the noise's variance that all devices have in common; the rest is each device's own",
        1.0,
        unit="1",
        ge=0,
        le=1,
        source="choice of this program: synchronous devices fluctuate together",
    )
    pipeline_stages: int = key(
        "groups of consecutive devices that phases may stagger", 1, ge=1, le=10_000, source=IDEAL
    )
    slow_fraction: float = key(
        "share of devices that are slow all along, drawn once per device", 0.0, unit="1", ge=0, lt=1, source=IDEAL
    )
    slow_by: float = key(
        "how much longer a slow device takes for every phase, relative", 0.0, unit="1", ge=0, le=1, source=IDEAL
    )
    checkpoint: Checkpoint | None = key("left out: none", None)
    evaluation: Evaluation | None = key("left out: none", None)
    stall: DataStall | None = key("left out: none", None)
    fault: Fault | None = key("left out: none", None)
    model: TrainingModel | None = key("derives the phases from model and machine; left out: give phases", None)
    phase: tuple[Phase, ...] = key(
        "phases in order; the last one ends at a barrier whether it says so or not",
        (),
        max_length=200,
        strict=False,
    )


class Accelerator(Table):
    """Power of one accelerator with its share of the server: idle, peak, spread and response."""

    idle_w: float = key("accelerator at rest", unit="W", ge=0)
    tdp_w: float = key("accelerator at its thermal design power", unit="W", gt=0)
    server_fixed_w: float = key(
        "server parts that do not follow the load, per accelerator", 0.0, unit="W", ge=0, source=IDEAL
    )
    server_fraction: float = key(
        "server parts that follow the load (CPU, NIC, fans, conversion), per W of accelerator",
        0.0,
        unit="1",
        ge=0,
        le=5,
        source=IDEAL,
    )
    gain_spread: float = key(
        "device-to-device s.d. of the power above idle, relative", 0.0, unit="1", ge=0, le=0.15, source=IDEAL
    )
    response_s: float = key(
        "first-order time constant of power; 0 = instantaneous", 0.0, unit="s", ge=0, le=10, source=IDEAL
    )
    edp_fraction: float = key(
        "electrical design point: what a rise from idle to TDP peaks at, over TDP; smaller rises in proportion",
        1.0,
        unit="1",
        ge=1,
        le=3,
        source=IDEAL,
    )
    edp_duration_s: float = key(
        "length of the overshoot, to the nearest tick", 0.05, unit="s", gt=0, le=1, source="at most 50 ms, Choukse [V]"
    )
    edp_window_s: float = key(
        "time over which the mean stays at TDP: the rest of it draws less",
        1.0,
        unit="s",
        gt=0,
        le=10,
        source="TDP held at 1 s averaging, Choukse [V]",
    )
    cap_min_w: float | None = key(
        "lowest power cap that it takes; left out: a tenth of the range above idle_w", None, unit="W", gt=0
    )
    power_exponent: float = key(
        "power above idle grows with clock speed to this power: what a cap costs in time",
        3.0,
        unit="1",
        ge=1,
        le=5,
        source="f V^2 with V in proportion to f, textbook [M]",
    )
    devices_per_server: int = key("accelerators in a server", 8, ge=1, le=1000, source="usual server [M]")
    servers_per_rack: int = key("servers in a rack", 4, ge=1, le=1000, source="assumed: 40 kW air-cooled rack")


class Service(Table):
    """What a replica does with its requests, and how they come."""

    devices_per_replica: int = key("accelerators that serve one copy of the model", 8, ge=1, le=100_000, source=PROGRAM)
    requests_per_s: float = key("mean arrivals per replica", unit="1/s", ge=0, le=1e5)
    arrivals: Literal["poisson", "bursty", "diurnal"] = key("kind of arrival process", "poisson", source=PROGRAM)
    burst_factor: float = key(
        "bursty: rate within a burst over the mean rate", 3.0, unit="1", gt=1, le=1000, source="assumed"
    )
    burst_s: float = key("bursty: mean length of a burst", 10.0, unit="s", gt=0, le=1e5, source="assumed")
    burst_fraction: float = key("bursty: share of time within bursts", 0.2, unit="1", gt=0, lt=1, source="assumed")
    day_s: float = key("diurnal: period", 86400.0, unit="s", gt=0, le=1e7, source="a day")
    day_swing: float = key("diurnal: amplitude over the mean", 0.5, unit="1", ge=0, le=1, source="assumed")
    day_phase: float = key(
        "diurnal: share of the period that has passed at the start", 0.0, unit="1", ge=0, lt=1, source=PROGRAM
    )
    prefill_s: float = key("mean time to prefill a request, exponentially distributed", unit="s", gt=0, le=1e4)
    decode_s: float = key("mean time to decode a request, exponentially distributed", unit="s", gt=0, le=1e5)
    batch: int = key("requests that a replica holds at most in decoding", ge=1, le=100_000)
    prefill_level: float = key("power while prefilling", unit="1", ge=0, le=2)
    decode_level_min: float = key("power while decoding one request", unit="1", ge=0, le=2)
    decode_level_max: float = key("power while decoding a full batch", unit="1", ge=0, le=2)


class _Job(Table):
    name: Name = key("unique within the site")
    start_s: float = key(
        "before it training and inference jobs idle, other kinds draw nothing",
        0.0,
        unit="s",
        ge=0,
        le=1e9,
        source=PROGRAM,
    )
    stop_s: float = key(
        "after it training jobs idle, inference jobs serve what is left and idle, other kinds draw nothing",
        1e9,
        unit="s",
        gt=0,
        le=1e9,
        source="never",
    )


class Smoothing(Table):
    """Power smoothing of the accelerator: a floor that follows activity in ramps, and a ceiling above it while it does.

    State machine of arXiv 2508.14318, section IV-B and Figures 4, 6; in brackets the parameters of NVML's profiles,
    see docs/models.md.
    """

    floor_fraction: float = key(
        "floor while the job is active, of TDP (NVML PERCENT_TMP_FLOOR, in %)", unit="1", gt=0, lt=1
    )
    ramp_up_w_per_s: float = key("of floor and ceiling, per accelerator (NVML RAMP_UP_RATE)", unit="W/s", gt=0, le=1e6)
    ramp_down_w_per_s: float = key(
        "of floor and ceiling, per accelerator (NVML RAMP_DOWN_RATE)", unit="W/s", gt=0, le=1e6
    )
    ceiling_fraction: float | None = key(
        "most that it lets through at any time, of TDP; left out: no ceiling", None, unit="1", gt=0, le=3
    )
    stop_delay_s: float = key(
        "time without activity at the floor before it ramps down (NVML RAMP_DOWN_HYSTERESIS, in ms)",
        0.0,
        unit="s",
        ge=0,
        le=1e4,
        source=IDEAL,
    )
    min_floor_s: float = key(
        "time at the floor before it may ramp down at all", 0.0, unit="s", ge=0, le=1e4, source=IDEAL
    )
    secondary_floor_w: float | None = key(
        "floor that remains while the job is inactive (NVML SECONDARY_POWER_FLOOR); left out: none",
        None,
        unit="W",
        gt=0,
    )
    activation_offset_w: float = key(
        "active means a draw this much above idle (NVML PRIMARY_FLOOR_ACT_OFFSET)",
        10.0,
        unit="W",
        gt=0,
        source="assumed: NVML gives no default",
    )
    activation_window_s: float = key(
        "averaging time of the draw that decides on activity (NVML PRIMARY_FLOOR_ACT_WIN_MULT times a window that is "
        "not published); 0 = none",
        0.0,
        unit="s",
        ge=0,
        le=10,
        source=IDEAL,
    )


class DummyWork(Table):
    """Software that fills dips of the load with work of no use."""

    floor_fraction: float = key("what it fills up to, of TDP", unit="1", gt=0, le=1)
    period_s: float = key("between two looks at the load", 0.001, unit="s", gt=0, le=10, source="1 ms, Firefly [V]")
    latency_s: float = key("from a look that finds a dip to its filling", 0.0, unit="s", ge=0, le=10, source=IDEAL)
    cost_fraction: float = key(
        "how much longer every iteration takes, relative", 0.0, unit="1", ge=0, le=1, source="below 5 %, Firefly [V]"
    )


class Cap(Table):
    """An order to the job's accelerators to draw no more than this, from the next chunk on."""

    at_s: float = key("when it is ordered", unit="s", ge=0, le=1e9)
    power_w: float | None = key("per accelerator; left out: the order before it is lifted", None, unit="W", gt=0)


class TrainingJob(_Job):
    kind: Literal["training"]
    accelerator: Accelerator = key("preset name or table")
    devices: int = key("accelerators that train in step", ge=1, le=10_000_000)
    workload: Workload = key("preset name or table")
    runs_s: tuple[Span, ...] = key(
        "arrival list: times from which to which it runs, in order; replaces start_s and stop_s",
        (),
        unit="s",
        strict=False,
        source="one run, from start_s to stop_s",
    )
    stage_in_s: float = key("devices start evenly over this time", 0.0, unit="s", ge=0, le=1e5, source=IDEAL)
    stage_out_s: float = key("devices stop evenly over this time", 0.0, unit="s", ge=0, le=1e5, source=IDEAL)
    clock: Name | None = key(
        "jobs of equal devices and workload with the same clock draw alike and keep in step; left out: its own", None
    )
    smoothing: Smoothing | None = key("left out: none", None)
    dummy_work: DummyWork | None = key("left out: none", None)
    cap: tuple[Cap, ...] = key("orders in time", (), strict=False, source="none")


class InferenceJob(_Job):
    """Replicas of a served model: requests arrive, are prefilled one by one and decoded in a batch. A job that runs
    from 0 s on starts in its stationary state, any other one empty."""

    kind: Literal["inference"]
    accelerator: Accelerator = key("preset name or table")
    devices: int = key("accelerators", ge=1, le=10_000_000)
    service: Service = key("preset name or table")


class ReplayJob(_Job):
    kind: Literal["replay"]
    path: str = key(
        "file, relative to the config (in a --set first to where one is), by its ending .csv, .txt, .parquet, .h5, "
        ".hdf5 or .cfg (COMTRADE); its first sample plays at start_s",
        min_length=1,
    )
    time_column: str = key("name of the time column, in seconds; COMTRADE has one, t_s", "t_s", source=PROGRAM)
    power_column: str = key("name of the power column", "p_mw", source=PROGRAM)
    unit: Literal["w", "kw", "mw"] = key("unit of the power column", "mw", source=PROGRAM)
    scale: float = key(
        "factor on the power column, for example the MW of a normalised record", 1.0, unit="1", ge=0, source=PROGRAM
    )
    interpolation: Literal["linear", "previous"] = key(
        "between samples; either way a tick gets the mean over the tick", "linear", source=PROGRAM
    )
    copies: int = key("devices or racks that each draw the recorded power", 1, ge=1, le=10_000_000, source=PROGRAM)
    phase_spread_s: float = key(
        "s.d. of the copies' shifts in time, normal, drawn once per copy", 0.0, unit="s", ge=0, le=1e4, source=IDEAL
    )
    bandwidth_hz: float | None = key(
        "what the replay is meant to carry: a warning where the file cannot; left out: warns only where values repeat",
        None,
        unit="Hz",
        gt=0,
    )
    repeat: bool = key("start again one sampling interval after the last sample", False, source=PROGRAM)


class ConstantJob(_Job):
    kind: Literal["constant"]
    power_mw: float = key("power from start_s to stop_s", unit="MW", ge=0, le=1e6)


Job = Annotated[TrainingJob | InferenceJob | ReplayJob | ConstantJob, Field(discriminator="kind")]
