"""Phases of a training iteration from the model that is trained and the machine that trains it. Pure Python.

With P parameters (P_a active), N tokens a step, n accelerators, p pipeline stages of m microbatches in v chunks each,
r = n / (tensor_parallel p) replicas:

    work        (6 + 2 recomputed) P_a N flop, 2 of the 6 forward      Kaplan et al., arXiv 2001.08361, section 2.1;
                                                                       Narayanan et al., arXiv 2104.04473, eq. (3)
    bubble      (p - 1) / (v m) of the work's time                     arXiv 2104.04473, section 2.2
    exchange    (r - 1) / r bytes / link, for the reduce-scatter       ring: Patarasuk and Yuan, J. Parallel Distrib.
                of gradients and for the all-gather of weights         Comput. 69 (2009) 117
    all-to-all  dispatch and combine, forward and backward: 4 times    Lepikhin et al., arXiv 2006.16668
                layers/p N/r copies hidden_size bytes (e - 1)/e / link, shared by tensor_parallel accelerators
    optimizer   bytes that Adam moves over memory bandwidth, and a fixed part
    length      work (1 + bubble) + exchange and all-to-all not hidden + optimizer; mfu = 6 P_a N / (n peak length)

A stage enters the iteration (work / (v m)) after the stage before and waits as long at its end for those that came
later: power rises and falls in trapezoids, and the sum of the waits is that of the 1F1B schedule.

Not modelled: the order of waits within 1F1B (its first and last microbatches leave gaps in the middle of a step),
unequal stages, the alternation of forward and backward microbatches and of compute and all-to-all within them (ms; they
enter as mean level), latency of messages, the length of the slowest link's path, congestion, self-attention in the
count of operations (a few per cent: 12 layers hidden sequence per token, arXiv 2204.02311, appendix B; give an mfu
that leaves it out), memory limits. Tensor-parallel, context-parallel and stage-to-stage exchange is part of compute.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from emulator.jobs_schema import Phase
from emulator.model_schema import Experts, TrainingModel
from emulator.units import counted

GIGA, TERA = 1e9, 1e12
LONGEST_S = 1e5  # of a phase

Problems = list[tuple[str, str]]


class Times(NamedTuple):
    """Parts of an iteration as one accelerator lives through them, s."""

    forward_s: float
    backward_s: float
    forward_all_to_all_s: float  # within forward_s, not hidden
    backward_all_to_all_s: float  # within backward_s, not hidden
    exchange_s: float  # not hidden
    hidden_exchange_s: float
    optimizer_s: float
    stage_delay_s: float  # from a pipeline stage's start to the next one's
    bubble_s: float  # that every stage waits, in all


def problems(model: TrainingModel, devices: int) -> Problems:
    """What does not fit: (key within the table, what is wrong with it). The key `devices` is the job's."""
    found = [*_split(model, devices), *_utilization(model)]
    if not found and model.experts is not None:
        found = list(_experts(model, model.experts, devices))
    return found or list(_lengths(model, devices))


def phases_of(model: TrainingModel, devices: int) -> tuple[Phase, ...]:
    """Phases of an iteration on `devices` accelerators. Raises ValueError where `problems` finds some.

    The job needs as many pipeline stages as the model: forward begins with their delay, and waits are at bubble_level.
    """
    if found := problems(model, devices):
        raise ValueError("; ".join(f"{name}: {message}" for name, message in found))
    times = times_of(model, devices)
    exchanges = times.exchange_s > 0
    phases = [
        Phase(
            name="forward",
            duration_s=times.forward_s,
            level=_work_level(model, times.forward_all_to_all_s / times.forward_s),
            noise=model.noise,
            stage_delay_s=times.stage_delay_s,
        ),
        Phase(
            name="backward",
            duration_s=times.backward_s,
            level=_work_level(model, times.backward_all_to_all_s / times.backward_s),
            noise=model.noise,
            barrier=not exchanges,
            wait_level=None if exchanges else model.bubble_level,
        ),
    ]
    if exchanges:
        phases.append(
            Phase(
                name="gradient exchange",
                duration_s=times.exchange_s,
                level=model.exchange_level,
                barrier=True,
                wait_level=model.bubble_level,
            )
        )
    last = Phase(
        name="optimizer",
        duration_s=times.optimizer_s,
        level=model.optimizer_level,
        barrier=True,
        wait_level=model.bubble_level,
    )
    return (*phases, last)


def iteration_s(model: TrainingModel, devices: int) -> float:
    """Length of an iteration, s."""
    times = times_of(model, devices)
    return times.forward_s + times.backward_s + times.bubble_s + times.exchange_s + times.optimizer_s


def times_of(model: TrainingModel, devices: int) -> Times:
    """Parts of an iteration; for a model in which `problems` finds none."""
    exchange_s = _exchange_s(model, devices)
    visible_s = (1 - model.overlap) * exchange_s
    optimizer_s = _optimizer_s(model, devices)
    all_to_all_s = _all_to_all_s(model, devices)
    stretch = 1 + bubble_share(model)
    if model.mfu is not None:
        length_s = _flop(model) / (devices * model.peak_tflops * TERA * model.mfu)
        compute_s = (length_s - visible_s - optimizer_s) / stretch - all_to_all_s
    else:
        assert model.compute_efficiency is not None
        rate = devices * model.peak_tflops * TERA * model.compute_efficiency
        compute_s = (1 + model.recomputed / 3) * _flop(model) / rate
    work_s = compute_s + all_to_all_s
    there_s = all_to_all_s / (2 + model.recomputed)
    forward_s = compute_s / (3 + model.recomputed) + there_s
    delay_s = work_s / (model.virtual_stages * model.microbatches) if model.pipeline_parallel > 1 else 0.0
    return Times(
        forward_s=forward_s,
        backward_s=work_s - forward_s,
        forward_all_to_all_s=there_s,
        backward_all_to_all_s=all_to_all_s - there_s,
        exchange_s=visible_s,
        hidden_exchange_s=exchange_s - visible_s,
        optimizer_s=optimizer_s,
        stage_delay_s=delay_s,
        bubble_s=(model.pipeline_parallel - 1) * delay_s,
    )


def efficiency_of(model: TrainingModel, devices: int) -> float:
    """Share of peak while computing, recomputation counted."""
    times = times_of(model, devices)
    all_to_all_s = times.forward_all_to_all_s + times.backward_all_to_all_s
    compute_s = times.forward_s + times.backward_s - all_to_all_s
    return (1 + model.recomputed / 3) * _flop(model) / (devices * model.peak_tflops * TERA * compute_s)


def bubble_share(model: TrainingModel) -> float:
    """Time that a pipeline stage waits over the time that it works: (p - 1) / (v m)."""
    return (model.pipeline_parallel - 1) / (model.virtual_stages * model.microbatches)


def ring_s(own_bytes: float, members: int, gb_per_s: float) -> float:
    """Reduce-scatter or all-gather of `own_bytes` around a ring; an all-reduce is both. 0 for a single member."""
    return (members - 1) / members * own_bytes / (gb_per_s * GIGA)


def _flop(model: TrainingModel) -> float:
    """Of the model in a step: 2 forward and 4 backward per active parameter and token."""
    return 6.0 * (model.active_parameters or model.parameters) * model.tokens_per_step


def _replicas(model: TrainingModel, devices: int) -> int:
    return devices // (model.tensor_parallel * model.pipeline_parallel)


def _shards(model: TrainingModel, devices: int) -> Iterator[tuple[float, int]]:
    """Parameters that an accelerator holds, and how many accelerators hold the same: dense, then experts."""
    replicas = _replicas(model, devices)
    slices = model.tensor_parallel * model.pipeline_parallel
    routed = 0.0 if model.experts is None else _routed_parameters(model, model.experts)
    yield (model.parameters - routed) / slices, replicas
    if model.experts is not None:
        yield routed / (slices * model.experts.parallel), replicas // model.experts.parallel


def _routed_parameters(model: TrainingModel, experts: Experts) -> float:
    """Of all experts: those that a token passes by, over the share of experts that it passes by."""
    passed_by = model.parameters - (model.active_parameters or model.parameters)
    return passed_by * experts.count / (experts.count - experts.per_token)


def _exchange_s(model: TrainingModel, devices: int) -> float:
    """Reduce-scatter of gradients and all-gather of weights, hidden part included."""
    each = model.gradient_bytes + model.weight_bytes
    return sum(ring_s(each * held, members, model.link_gb_per_s) for held, members in _shards(model, devices))


def _optimizer_s(model: TrainingModel, devices: int) -> float:
    updated = sum(held / (members if model.sharded_optimizer else 1) for held, members in _shards(model, devices))
    return model.overhead_s + updated * model.optimizer_bytes / (model.memory_gb_per_s * GIGA)


def _all_to_all_s(model: TrainingModel, devices: int) -> float:
    """Of tokens to experts and back, as far as it is not hidden; recomputation repeats the forward one."""
    experts = model.experts
    if experts is None:
        return 0.0
    copies = experts.per_token if experts.copies is None else experts.copies
    tokens = model.tokens_per_step / (_replicas(model, devices) * model.tensor_parallel)
    sent = tokens * copies * experts.hidden_size * experts.token_bytes * (experts.parallel - 1) / experts.parallel
    times = (4 + 2 * model.recomputed) * experts.layers / model.pipeline_parallel
    return (1 - experts.overlap) * times * sent / (model.link_gb_per_s * GIGA)


def _work_level(model: TrainingModel, all_to_all_share: float) -> float:
    """Mean level of compute and the all-to-all between, which alternate within ms."""
    level = model.compute_level if model.experts is None else model.experts.level
    return model.compute_level + all_to_all_share * (level - model.compute_level)


def _split(model: TrainingModel, devices: int) -> Iterator[tuple[str, str]]:
    slices = model.tensor_parallel * model.pipeline_parallel
    if devices % slices:
        yield (
            "devices",
            f"{devices} are no whole number of replicas: tensor_parallel x pipeline_parallel = "
            f"{model.tensor_parallel} x {model.pipeline_parallel} = {slices}",
        )
    if model.virtual_stages > 1 and model.pipeline_parallel == 1:
        yield "virtual_stages", f"is {model.virtual_stages}, needs pipeline_parallel above 1"
    elif model.virtual_stages > 1 and model.microbatches < model.pipeline_parallel:
        least = model.pipeline_parallel
        yield "microbatches", f"is {model.microbatches}, virtual_stages needs one per pipeline stage at least, {least}"


def _utilization(model: TrainingModel) -> Iterator[tuple[str, str]]:
    if (model.mfu is None) == (model.compute_efficiency is None):
        yield "mfu", f"give {'either' if model.mfu is None else 'only one of'} mfu or compute_efficiency"
    if model.active_parameters is not None and model.active_parameters > model.parameters:
        yield "active_parameters", f"is {model.active_parameters:g}, parameters are {model.parameters:g} in all"


def _experts(model: TrainingModel, experts: Experts, devices: int) -> Iterator[tuple[str, str]]:
    replicas = _replicas(model, devices)
    if experts.per_token >= experts.count:
        yield "experts.per_token", f"is {experts.per_token}, must be below count = {experts.count}"
    elif model.active_parameters is None:
        yield "active_parameters", "missing: with experts a token passes through some of the parameters only"
    elif (routed := _routed_parameters(model, experts)) > model.parameters:
        least = model.parameters * experts.per_token / experts.count
        yield (
            "active_parameters",
            f"is {model.active_parameters:g}: experts alone would have {routed:.4g}, more than the model; "
            f"at least {least:.4g}",
        )
    if experts.count % experts.parallel:
        yield "experts.parallel", f"is {experts.parallel}, {experts.count} experts do not spread evenly over so many"
    if replicas % experts.parallel:
        yield "experts.parallel", f"is {experts.parallel}, must divide the {counted(replicas, 'replica')}"


def _lengths(model: TrainingModel, devices: int) -> Iterator[tuple[str, str]]:
    times = times_of(model, devices)
    all_to_all_s = times.forward_all_to_all_s + times.backward_all_to_all_s
    compute_s = times.forward_s + times.backward_s - all_to_all_s
    if compute_s <= 0:
        rest_s = times.exchange_s + times.optimizer_s + all_to_all_s
        yield "mfu", f"is {model.mfu:g}: exchange, all-to-all and optimizer, {rest_s:.4g} s, leave no time to compute"
        return
    if (efficiency := efficiency_of(model, devices)) > 1:
        yield "mfu", f"is {model.mfu:g}: compute would have to run at {efficiency:.3g} of peak_tflops"
    if times.hidden_exchange_s > times.backward_s:
        yield (
            "overlap",
            f"is {model.overlap:g}: {times.hidden_exchange_s:.4g} s of exchange do not hide behind "
            f"{times.backward_s:.4g} s of backward pass",
        )
    if max(times) > LONGEST_S:
        yield "tokens_per_step", f"a part of the iteration takes {max(times):.4g} s, more than {LONGEST_S:g} s"
