"""Tables and paragraphs as HTML. Every text is escaped here: names come from files that anyone may have written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from math import isnan


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = (), look: str = "") -> str:
    """A table of texts, "" without rows; the first column names the row. numbers: columns set flush right."""
    side = {i: ' class="number"' for i in numbers}
    lines = []
    for name, *cells in rows:
        rest = "".join(f"<td{side.get(i, '')}>{escape(text)}</td>" for i, text in enumerate(cells, start=1))
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{rest}</tr>')
    return framed(head, lines, numbers, f' class="{look}"' if look else "") if lines else ""


def framed(head: Sequence[str], lines: Sequence[str], numbers: Sequence[int], attributes: str) -> str:
    """A table of rows that are HTML already, in what scrolls where it is too wide."""
    cells = [f'<th scope="col"{" class=number" * (i in numbers)}>{escape(text)}</th>' for i, text in enumerate(head)]
    top = f"<thead><tr>{''.join(cells)}</tr></thead>" if head else ""
    return f'<div class="scroll"><table{attributes}>{top}<tbody>{"".join(lines)}</tbody></table></div>'


def note(text: str, look: str = "note") -> str:
    """A paragraph."""
    return f'<p class="{look}">{escape(text)}</p>'


def folded(summary: str, inside: str) -> str:
    """What opens on demand; `inside` is HTML."""
    return f"<details><summary>{escape(summary)}</summary>{inside}</details>"


def preformatted(text: str) -> str:
    """Lines as they are."""
    return f"<pre>{escape(text)}</pre>"


def figure(value: float, digits: int = 4) -> str:
    """A number of so many digits, a dash where there is none."""
    if isnan(value):
        return "–"
    if value == 0.0:
        return "0"  # also of -0.0
    return f"{value:.0f}" if abs(value) >= 10**digits else f"{value:#.{digits}g}".rstrip(".")


def count(value: float) -> str:
    """A whole number, a dash where there is none."""
    return "–" if isnan(value) else f"{value:.0f}"
