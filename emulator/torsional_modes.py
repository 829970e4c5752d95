"""Natural frequencies of a generator's shaft. No JAX: a tick too coarse for them is refused early."""

from __future__ import annotations

import math

from emulator.grid_schema import Shaft


def frequencies_hz(shaft: Shaft, nominal_hz: float) -> list[float]:
    """Undamped, ascending, without the rigid one: w^2 are the eigenvalues of w0 (2H)^-1/2 K (2H)^-1/2.

    Reference: Kundur, 1994, sec. 15.1.2.
    """
    import numpy as np

    apart = np.eye(len(shaft.stiffness_pu), len(shaft.inertia_s)) - np.eye(
        len(shaft.stiffness_pu), len(shaft.inertia_s), 1
    )
    scaled = apart / np.sqrt(2.0 * np.array(shaft.inertia_s))
    squared = np.linalg.eigvalsh(scaled.T * np.array(shaft.stiffness_pu) @ scaled) * 2.0 * math.pi * nominal_hz
    return [float(rate) / (2.0 * math.pi) for rate in np.sqrt(squared[1:])]
