"""Arrays and texts in the form in which the page holds them. Nothing in them can end a script or open a tag.

Curves are whole numbers of 16 bits between a curve's lowest and highest value, little-endian, in base64: a step is
1/65,534 of that range, and envelopes are rounded outwards, so that no peak gets smaller.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

STEPS = 65_534
NOTHING = 65_535  # where there is no value
ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def json_text(value: Any) -> str:
    """JSON that is safe within a script element, whatever texts it holds. ValueError for NaN and infinity."""
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).translate(ESCAPES)


def floats(values: np.ndarray) -> str:
    """(n,) as float32."""
    return base64.b64encode(np.asarray(values, "<f4").tobytes()).decode()


def octets(values: np.ndarray) -> str:
    """Any shape, row by row, as bytes."""
    return base64.b64encode(np.asarray(values, np.uint8).tobytes()).decode()


def envelope(low: np.ndarray, high: np.ndarray, scale: float = 1.0) -> dict[str, Any]:
    """(n,) lowest and highest values; `high` is left out where it equals `low` throughout."""
    finite = np.isfinite(low) & np.isfinite(high)
    if not finite.any():
        return {"lo": 0.0, "hi": 0.0, "low": _steps(np.full(len(low), NOTHING, float))}
    bottom, top = float(low[finite].min()), float(high[finite].max())
    step = (top - bottom) / STEPS
    found: dict[str, Any] = {"lo": bottom * scale, "hi": top * scale}
    for name, ends, toward in (("low", low, np.floor), ("high", high, np.ceil)):
        if name == "high" and np.array_equal(low, high, equal_nan=True):
            continue
        steps = (np.where(finite, ends, bottom).astype(np.float64) - bottom) / step if step else np.zeros(len(ends))
        found[name] = _steps(np.where(finite, np.clip(toward(steps), 0, STEPS), NOTHING))
    return found


def _steps(values: np.ndarray) -> str:
    return base64.b64encode(values.astype("<u2").tobytes()).decode()
