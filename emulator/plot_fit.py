"""The picture of a fit: the recording, what was fitted to it, and what is left over."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from emulator.fit_result import Fitted
from emulator.plot import BLUE, ENDINGS, GREEN, ORANGE
from emulator.trace import TraceError

LABELS = {"power": "power, MW", "frequency": "frequency, Hz"}
RESIDUALS = {"power": ("residual, MW", 1.0), "frequency": ("residual, mHz", 1e3)}


def picture(fitted: Fitted, path: Path) -> None:
    """Draw it as PNG, SVG or PDF, by the ending of `path`.

    Raises:
      TraceError: an ending not known, matplotlib is not installed, or the file cannot be written.
    """
    if path.suffix.lower() not in ENDINGS:
        raise TraceError(f"{path}: a picture ends in {', '.join(ENDINGS)}")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise TraceError("pictures need matplotlib: install wattswing[plot]") from error
    figure = Figure(figsize=(14, 8), dpi=100, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    out = np.isnan(fitted.fitted)
    if out.any():
        above.plot(fitted.time_s, fitted.measured, color="0.8", lw=1.2, label="measured, left out")
    above.plot(fitted.time_s, np.where(out, np.nan, fitted.measured), color=ORANGE, lw=1.2, label="measured")
    above.plot(fitted.time_s, fitted.fitted, color=BLUE, lw=1.4, label="fitted")
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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    except OSError as error:
        raise TraceError(f"cannot write {path}: {error.strerror or error}") from error
