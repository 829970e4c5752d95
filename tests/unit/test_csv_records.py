"""CSV files are read by blocks where their lines are plain, and else by rows: both give the same bits and words."""

from __future__ import annotations

import csv
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emulator.traces import from_csv
from emulator.traces.samples import RecordError


def outcome(path: Path) -> tuple[object, ...]:
    try:
        found = from_csv.read(str(path), "t", "p")
    except RecordError as error:
        return str(error), error.key
    return found.time_s.tobytes(), found.power.tobytes(), found.place.tolist(), found.place_name


def by_rows(path: Path) -> tuple[object, ...]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(from_csv, "_by_blocks", lambda *args: None)
        return outcome(path)


PLAIN = {
    "as most": b"t,p,x\n0,1,a\n0.1,2,b\n",
    "windows": b"t,p,x\r\n0,1,a\r\n0.1,2,b\r\n",
    "marked": b"\xef\xbb\xbft,p,x\n0,1,a\n0.1,2,b\n",
    "no last end": b"t,p,x\r\n0,1,a\r\n0.1,2,b",
    "blank at its end": b"t,p,x\n0,1,a\n0.1,2,b\n\n\r\n\r",
    "quoted head": b'"t",p,"a, b"\n0,1,a\n0.1,2,b\n',
    "texts": "t,p,x\n0,1,a_b\n0.1,2,\u00e9\u2028\u00b0\x00\n".encode(),
    "spaces": "t,p,x\n 0,1\t,a\n0.1,\u0662,b\n".encode(),
}


@pytest.mark.parametrize("kind", PLAIN)
def test_plain_lines_are_read_by_blocks(tmp_path, monkeypatch, kind):
    path = tmp_path / "l.csv"
    path.write_bytes(PLAIN[kind])
    for block in (1, 2**16):
        monkeypatch.setattr(from_csv, "BLOCK", block)
        columns = from_csv._by_blocks(path, 3, [0, 1])
        if kind == "blank at its end" and block == 1:
            assert columns is None  # whose lines are a block of their own
        else:
            assert columns is not None
            assert [column.tolist() for column in columns] == [[0.0, 0.1], [1.0, 2.0]]
        assert outcome(path) == by_rows(path)
        assert outcome(path)[2] == [2, 3]


OTHER = {
    "a quote": b't,p\n0,"1"\n1,2\n',
    "a line end that is quoted": b't,p\n0,"1\n"\n1,2\n',
    "a line end and commas within quotes": b't,p,x\n0,1,"a\n1,2,b"\n',
    "more after a quote": b't,p,x\n0,1,"a"b\n',
    "a blank line": b"t,p\n0,1\n\n1,2\n",
    "another line end": b"t,p\n0,1\r\n1,2\n2,3\n",
    "old line ends": b"t,p\r0,1\r1,2\r",
    "an old end of the head": b"t,p\r0,1\n1,2\n",
    "a head that spans lines": b't,p,"a\nb"\n0,1,2\n1,2,3\n',
    "a field less and one more": b"t,p\n0\n1,2,3\n",
    "no number": b"t,p\n0,1\n1,x\n",
    "nothing": b"t,p\n0,1\n1,\n",
    "digits that are parted": b"t,p\n0,1_0\n1,2\n",
    "no UTF-8": b"t,p,x\n0,1,2\n1,2,\xff\n",
    "a field too long for csv": b"t,p\n0,1\n1," + b"0" * csv.field_size_limit() + b"2\n",
}


@pytest.mark.parametrize("kind", OTHER)
def test_other_lines_are_not(tmp_path, kind):
    (tmp_path / "l.csv").write_bytes(OTHER[kind])
    assert from_csv._by_blocks(tmp_path / "l.csv", OTHER[kind].split(b"\n")[0].count(b",") + 1, [0, 1]) is None


NUMBERS = st.one_of(
    st.floats().map(repr),
    st.integers(-(10**20), 10**20).map(str),
    st.from_regex(r"[0-9]{1,25}\.[0-9]{0,25}(e[-+]?[0-9]{1,3})?", fullmatch=True),
)
ODD = st.sampled_from(
    ["", " ", " 1", "1_0", '"1"', '"1', '"1\n"', "x", "1;5", "0x1", "\u0661", "\ufeff1", "1\x1c", "1\x00"]
)
ENDS = st.sampled_from(["\n", "\n", "\n", "\r\n", "\r", "\n\n", ""])


@st.composite
def texts(draw) -> bytes:
    """Mostly plain files, some with a few odd fields, line ends or bytes."""
    end, odd = draw(st.sampled_from(["\n", "\r\n", "\r"])), draw(st.booleans())
    fields = st.one_of(*[NUMBERS] * 9, ODD) if odd else NUMBERS
    ends = st.one_of(st.just(end), ENDS) if odd else st.just(end)
    rows = draw(st.lists(st.tuples(fields, st.just(","), fields, ends), max_size=12))
    text = "".join(chain(draw(st.sampled_from(["t,p", '"t",p', "p,t"])), end, *rows)).encode()
    at = draw(st.integers(0, len(text)))
    return text[:at] + draw(st.sampled_from([b"\xff", b'"', b"\r", b","])) + text[at:] if odd and at % 3 == 0 else text


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=texts(), block=st.sampled_from([1, 30, 2**16]))
def test_both_ways_give_the_same(tmp_path, text, block):
    (tmp_path / "l.csv").write_bytes(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(from_csv, "BLOCK", block)
        assert outcome(tmp_path / "l.csv") == by_rows(tmp_path / "l.csv")


def test_a_file_that_ends_with_its_head(tmp_path):
    (tmp_path / "l.csv").write_text("t,p")
    found = from_csv.read(str(tmp_path / "l.csv"), "t", "p")
    assert found.time_s.shape == found.power.shape == found.place.shape == (0,) and found.time_s.dtype == np.float64
