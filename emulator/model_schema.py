"""Tables of a model and the machine that trains it, from which `training_model` derives the phases of an iteration.

Rates are per accelerator; bytes per parameter or per element; levels as `workload.level_of` says.
"""

from __future__ import annotations

from emulator.tables import IDEAL, PROGRAM, Table, key


class Experts(Table):
    """Expert layers of a mixture-of-experts model, and how tokens reach them."""

    count: int = key("routed experts in a layer", ge=2, le=100_000)
    per_token: int = key("routed experts that a token passes through in a layer", ge=1, le=100_000)
    parallel: int = key("accelerators of one pipeline stage among which a layer's experts are spread", ge=1, le=100_000)
    layers: int = key("expert layers of the model", ge=1, le=100_000)
    hidden_size: int = key("elements of a token between layers", ge=1, le=1_000_000)
    copies: float | None = key(
        "copies of a token that a layer sends over link_gb_per_s; left out: per_token", None, unit="1", gt=0, le=100_000
    )
    token_bytes: float = key(
        "bytes of an element on the way, mean of dispatch and combine", 2.0, unit="B", gt=0, le=8, source="BF16 [M]"
    )
    overlap: float = key(
        "share of the all-to-all that is hidden behind compute", 0.0, unit="1", ge=0, le=1, source="assumed: none"
    )
    level: float = key(
        "power while it is not hidden",
        0.175,
        unit="1",
        ge=-1,
        le=2,
        source="assumed: as exchange_level",
    )


class TrainingModel(Table):
    """Model, parallelism and machine. Accelerators beyond tensor_parallel x pipeline_parallel are replicas: they split
    the batch (or, with context parallelism, the sequences) and exchange gradients."""

    parameters: float = key("of the model", unit="1", gt=0, le=1e16)
    active_parameters: float | None = key(
        "that a token passes through, needed with experts; left out: parameters", None, unit="1", gt=0, le=1e16
    )
    tokens_per_step: int = key("batch times sequence length", ge=1, le=1_000_000_000_000)
    microbatches: int = key("that a replica works through in a step", 1, ge=1, le=1_000_000, source=PROGRAM)
    tensor_parallel: int = key("accelerators that share every layer", 1, ge=1, le=100_000, source=PROGRAM)
    pipeline_parallel: int = key("stages into which layers are split", 1, ge=1, le=10_000, source=PROGRAM)
    virtual_stages: int = key(
        "chunks of layers per stage: interleaved schedule; 1 = one forward one backward",
        1,
        ge=1,
        le=1000,
        source=PROGRAM,
    )
    recomputed: float = key("share of the forward pass that is done twice", 0.0, unit="1", ge=0, le=1, source=IDEAL)
    experts: Experts | None = key("left out: a dense model", None)

    peak_tflops: float = key("dense peak in the training precision", unit="Tflop/s", gt=0, le=1e6)
    mfu: float | None = key(
        "model flops utilization of the whole iteration, 6 flop per active parameter and token: its length follows; "
        "give this or compute_efficiency",
        None,
        unit="1",
        gt=0,
        le=1,
    )
    compute_efficiency: float | None = key(
        "share of peak_tflops while computing, recomputation counted: the iteration's length follows from all parts; "
        "give this or mfu",
        None,
        unit="1",
        gt=0,
        le=1,
    )
    link_gb_per_s: float = key("each way, on the slowest link of a ring of replicas", unit="GB/s", gt=0, le=1e6)
    memory_gb_per_s: float = key("of the accelerator's memory", unit="GB/s", gt=0, le=1e6)

    gradient_bytes: float = key(
        "of a gradient in the reduce-scatter", 2.0, unit="B", gt=0, le=16, source="assumed: BF16"
    )
    weight_bytes: float = key("of a weight in the all-gather", 2.0, unit="B", gt=0, le=16, source="assumed: BF16")
    overlap: float = key(
        "share of both that is hidden behind the backward pass", 0.0, unit="1", ge=0, le=1, source="assumed: none"
    )
    optimizer_bytes: float = key(
        "moved per parameter in the optimizer step",
        30.0,
        unit="B",
        gt=0,
        le=1000,
        source="Adam in FP32: reads gradient, weight and moments, writes the latter and a BF16 weight [D]",
    )
    sharded_optimizer: bool = key(
        "each replica updates its share of the parameters, else every replica all of them", True, source="ZeRO-1 [M]"
    )
    overhead_s: float = key(
        "part of the optimizer step that does not scale: gradient norm, host, loading data",
        0.0,
        unit="s",
        ge=0,
        le=1e4,
        source=IDEAL,
    )

    compute_level: float = key(
        "power in forward and backward passes, tensor-parallel exchange included",
        0.85,
        unit="1",
        ge=-1,
        le=2,
        source="mean of the compute part of arXiv 2508.14318, Figure 1 [D]",
    )
    exchange_level: float = key(
        "power in the exchange of gradients and weights that is not hidden",
        0.175,
        unit="1",
        ge=-1,
        le=2,
        source="mean of the dips of arXiv 2508.14318, Figure 1 [D]",
    )
    optimizer_level: float = key(
        "power in the optimizer step", 0.3, unit="1", ge=-1, le=2, source="assumed: bound by memory and host"
    )
    bubble_level: float = key(
        "power of a pipeline stage that waits for another", 0.1, unit="1", ge=-1, le=2, source="assumed: near idle"
    )
    noise: float = key(
        "s.d. of the fluctuation in forward and backward passes", 0.0, unit="1", ge=0, le=1, source=IDEAL
    )
