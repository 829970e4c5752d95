"""How far the jobs, sites and devices of a trace swing together, band by band: rho = 1 in step, 0 independent.

    python scripts/coherence_by_band.py campus.h5

Var(sum) = N s^2 [1 + (N - 1) rho] holds within a band only: see `emulator/coherence.py`.
"""

from __future__ import annotations

import sys

from emulator.coherence import in_bands
from emulator.traces.hdf5 import read

BANDS = ((0.02, 0.1), (0.1, 2.0), (2.0, 20.0))


def main(path: str) -> None:
    """Print a line per kind of series and band."""
    trace = read(path)
    kinds = {
        "jobs": (trace.job_power_mw, trace.header.row_s),
        "sites": (trace.site_facility_power_mw, trace.header.row_s),
        "devices": (trace.device_power_w, trace.header.device_every_ticks * trace.header.dt_s),
    }
    print(f"{'':10}{'n':>5}{'band Hz':>14}{'rho':>8}{'share of variance':>20}")
    for kind, (power, dt_s) in kinds.items():
        highest_hz = 0.5 / dt_s
        bands = [(low, high) for low, high in BANDS if high <= highest_hz and low * len(power) * dt_s >= 1.0]
        if power.shape[1] < 2 or not bands:
            continue
        for band in in_bands(power, dt_s, bands, "hann"):
            span = f"{band.low_hz:g} to {band.high_hz:g}"
            print(f"{kind:10}{power.shape[1]:5d}{span:>14}{band.rho:8.3f}{band.share:20.3f}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
