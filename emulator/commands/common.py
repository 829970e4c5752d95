"""What the commands share: exit statuses, arguments that several have, and JAX's settings."""

from __future__ import annotations

import argparse
import gc
import os
from pathlib import Path

from emulator.commands.interruption import interrupts_later

DONE, BAD, FAILED, STOPPED, INTERRUPTED = 0, 2, 3, 4, 130


class UsageError(Exception):
    """Arguments that do not make sense together, or a file that is not what it should be."""


def config_arguments(parser: argparse.ArgumentParser) -> None:
    """CONFIG and `--set`."""
    parser.add_argument("config", metavar="CONFIG", help="a TOML file, or a scenario of `wattswing presets scenarios`")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="overrides a key, as often as you like: dotted path, list items by index or name, as in "
        "site.0.job.pretrain.devices=4096",
    )


LIMITS_HELP = "a TOML file, or limits of `wattswing presets limits`"


def hdf5_path(out: Path) -> Path:
    """As it is, if its ending says HDF5."""
    if out.suffix not in (".h5", ".hdf5"):
        raise UsageError(f"--out {out}: must end in .h5")
    return out


def prepare_jax(platform: str | None, x64: bool) -> None:
    """Everything that is global in JAX, set in this one place before its first computation.

    On the CPU where neither `platform` nor JAX_PLATFORMS says otherwise, which is the fastest for few scenarios of
    linear devices; beside other devices there is always a CPU.
    """
    from emulator.xla import compile_loops_whole

    compile_loops_whole()
    with interrupts_later():
        import jax

    gc.freeze()  # else the collector looks through all of JAX again and again while programs are traced
    if cache := _cache():
        jax.config.update("jax_compilation_cache_dir", str(cache / "wattswing"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_enable_x64", x64)
    asked = platform or os.environ.get("JAX_PLATFORMS") or "cpu"
    said = f"--platform {platform}" if platform else f"JAX_PLATFORMS={asked}"
    kinds = asked.split(",")
    # Of gpu JAX would want all makes at once, CUDA and ROCm: its own choice is the GPU that there is.
    jax.config.update("jax_platforms", None if asked == "gpu" else ",".join(dict.fromkeys([*kinds, "cpu"])))
    try:
        found = jax.default_backend()
    except RuntimeError as error:
        raise UsageError(f"{said}: JAX finds no such device here ({error})") from error
    if found not in ["gpu" if kind in ("cuda", "rocm") else kind for kind in kinds]:
        raise UsageError(f"{said}: JAX finds no such device here, only {found}")


def _cache() -> Path | None:
    """The user's folder for caches; None for a user without a home, who compiles anew each time."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
