"""The metrics of `wattswing assess --metrics` as tables: those that one asks for first, and all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from math import isnan

from emulator.measures import LAMPS, Figure
from emulator.power_metrics import FREQUENCY_BANDS_HZ, RETURN_VOLTAGE_PU, RETURNED_SHARE, ROCOF_S
from emulator.report.gather import MOST_CURVES
from emulator.report.html import figure, folded, framed, note, table
from emulator.report.run import Run, shared

MOST_ROWS = 4000  # of all runs together: half a megabyte
KEYS = (  # quantity, name, in words
    ("voltage", "rapid_change_pct", "largest change of voltage within a second"),
    *(("voltage", f"pst_max_{lamp_v}v", f"largest flicker severity Pst, {lamp_v} V lamp") for lamp_v in LAMPS),
    ("ride-through", "trips", "times that load left the grid"),
    ("ride-through", "least_share", "least share of the load on the grid"),
    (
        "ride-through",
        "longest_return_s",
        f"longest time with {RETURN_VOLTAGE_PU:g} pu of voltage back but not {100 * RETURNED_SHARE:g} % of the load",
    ),
    *(("frequency", f"rocof_{over_s:g}s_hz_per_s", f"fastest rate of change over {over_s:g} s") for over_s in ROCOF_S),
    *(
        ("frequency", f"outside_{band_hz:g}hz_s", f"time further than {band_hz:g} Hz from nominal frequency")
        for band_hz in FREQUENCY_BANDS_HZ
    ),
    ("tie", "line_1_hz", "frequency at which the tie swings most"),
    ("tie", "amplification", "swing of the tie there, over that of all sites"),
    ("shaft", "cycles_beyond_endurance", "cycles of torque beyond the endurance limit"),
    ("shaft", "damage_per_year", "share of the shaft's life used up in a year of this"),
)  # fmt: skip
COLUMNS = ("metric", "value", "unit", "at s", "remark")


def key_table(runs: Sequence[Run]) -> str:
    """Voltage, flicker, ride-through, frequency, ties and shafts, place by place, runs side by side."""
    rows = [row for quantity in dict.fromkeys(quantity for quantity, _, _ in KEYS) for row in _keys(runs, quantity)]
    head = ("", *(run.label or "value" for run in runs), "unit", "remark")
    stiff = "" if any(run.places("voltage") for run in runs) else note("The voltage is stiff: no flicker.")
    return table(head, rows, range(1, len(runs) + 1)) + stiff


def _keys(runs: Sequence[Run], quantity: str) -> Iterator[tuple[str, ...]]:
    """Rows of a quantity, of its first places."""
    places = list(dict.fromkeys(at for run in runs for at in run.places(quantity)))
    for at in places[:MOST_CURVES]:
        for _, name, words in (its for its in KEYS if its[0] == quantity):
            cells = [run.metric(quantity, at, name) for run in runs]
            known = [(run.label, its) for run, its in zip(runs, cells, strict=True) if its]
            if known:
                remarks = shared([(label, its.remark) for label, its in known if its.remark])
                values = [_short(its.value) if its else "–" for its in cells]
                yield (f"{at}: {words}", *values, _unit(known[0][1]), "; ".join(remarks))


def _short(value: float) -> str:
    """Four digits at most: some are counts."""
    return f"{value:z.4g}" if abs(value) < 1e4 else figure(value)


def all_tables(runs: Sequence[Run]) -> str:
    """Every metric of each run, folded."""
    return "".join(folded(run.named("all metrics"), _all(run, MOST_ROWS // len(runs))) for run in runs)


def _all(run: Run, most: int) -> str:
    if not run.metrics:
        return note("A record of less than two rows has none.")
    lines, last = [], ("", "")
    for its in run.metrics[:most]:
        if (its.quantity, its.where) != last:
            last = (its.quantity, its.where)
            lines.append(
                f'<tr class="of"><th scope="row" colspan="5">{escape(f"{its.quantity}, {its.where}")}</th></tr>'
            )
        lines.append(_row(its))
    more = len(run.metrics) - most
    cut = note(f"And {more} more: wattswing assess TRACE --metrics shows them.") if more > 0 else ""
    return framed(COLUMNS, lines, (1, 3), ' class="metrics"') + cut


def _row(its: Figure) -> str:
    """Numbers as `wattswing assess` prints them."""
    value = "–" if isnan(its.value) else f"{its.value:z.6g}"
    at_s = "" if isnan(its.at_s) else f"{its.at_s:z.3f}"
    return (
        f'<tr><th scope="row">{escape(its.name)}</th><td class="number">{value}</td><td>{_unit(its)}</td>'
        f'<td class="number">{at_s}</td><td class="small">{escape(its.remark)}</td></tr>'
    )


def _unit(its: Figure) -> str:
    return "" if its.unit == "1" else its.unit
