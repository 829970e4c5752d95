"""The picture of a fit: the recording, what was fitted to it, and what is left over."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emulator import plot
from emulator.fit_result import Fitted
from emulator.plot import BLUE, GREEN, ORANGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LABELS = {"power": "power, MW", "frequency": "frequency, Hz"}
RESIDUALS = {"power": ("residual, MW", 1.0), "frequency": ("residual, mHz", 1e3)}


def picture(fitted: Fitted, path: Path) -> None:
    """Draw it as PNG, SVG or PDF, by the ending of `path`.

    Raises:
      TraceError: as `plot.picture`.
    """
    with plot.picture(path) as figure:
        figure.set_size_inches(14, 8)
        _draw(figure, fitted)


def _draw(figure: Figure, fitted: Fitted) -> None:
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    out = np.isnan(fitted.fitted)
    if out.any():
        above.plot(fitted.time_s, fitted.measured, color="0.8", lw=1.2, label="measured, left out")
    above.plot(fitted.time_s, np.where(out, np.nan, fitted.measured), color=ORANGE, lw=2.8, label="measured")
    above.plot(fitted.time_s, fitted.fitted, color=BLUE, lw=1.0, label="fitted")
    above.set_ylabel(LABELS[fitted.quantity])
    above.set_title(f"{fitted.place}: {fitted.explained:.2%} of the variance explained", loc="left")
    above.ticklabel_format(useOffset=False)
    above.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, frameon=False)
    label, scale = RESIDUALS[fitted.quantity]
    below.plot(fitted.time_s, scale * (fitted.measured - fitted.fitted), color=GREEN, lw=0.8)
    below.axhline(0.0, color="0.7", lw=0.8)
    below.set(xlabel="time, s", ylabel=label, xlim=(fitted.time_s[0], fitted.time_s[-1]))
    for axes in (above, below):
        axes.grid(color="0.92")
