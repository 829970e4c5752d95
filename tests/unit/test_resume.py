"""Traces that survive: kills, power cuts, full disks and damage; going on from a checkpoint; without JAX."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.carry import Checkpoint, differences
from emulator.trace import CHANNELS, Event, Header, Trace, TraceError
from emulator.traces import filesystem, hdf5, opening, state_file, superblock
from emulator.traces.hdf5 import TraceWriter, count_rows, read

from .synthetic import TWO_SITES, block, write

HEADER = replace(TWO_SITES, device_every_ticks=4)
BLOCKS, ROWS = 24, 500


def rows_of(number: int, header: Header = HEADER) -> dict[str, np.ndarray]:
    """Block of that number; devices and racks have rows of four ticks."""
    rows = block(header, ROWS, number)
    return rows | {name: rows[name][: ROWS // 4] for name in ("device_power_w", "rack_power_kw")}


def go_on(path: Path, upto: int = BLOCKS, header: Header = HEADER, resume: bool = True) -> TraceWriter:
    """Append blocks up to a number, from the last checkpoint on if there is one; a checkpoint whenever one is due."""
    start, around = state_file.read(state_file.path_of(path)) if resume else (None, None)
    writer = TraceWriter(path, header, ROWS, around)
    for i in range(int(start.arrays["next"]) if start else 0, upto):
        writer.append(ROWS * i, rows_of(i, header), [Event(ROWS * i / 1000, "tick", "west", float(i))])
        if writer.due():
            writer.keep(Checkpoint({"config": ""}, {"next": np.array(i + 1)}))
    return writer


def finish(writer: TraceWriter) -> None:
    names = list(h5py.File.__getitem__(writer._file, "metrics"))
    writer.finish({name: float(i) for i, name in enumerate(names)}, "end of run", complete=True)


def settle(writer: TraceWriter) -> None:
    """Wait until all that was appended is in the file."""
    while writer._waiting:
        writer._waiting.popleft().result()


def die(writer: TraceWriter) -> None:
    """Leave the file as a kill does."""
    settle(writer)
    writer._abandon()


def contents(path: Path) -> dict[str, tuple]:
    """Shape and bytes of every dataset, but for when the file was created, and what the root says of the end."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
        ends = {name: file.attrs[name] for name in ("complete", "stop_reason", "metrics_sha256")}
        header = json.loads(found.pop("header")[:].tobytes()) | {"created_utc": ""}
        return (
            {name: (data.shape, data[()].tobytes()) for name, data in found.items()} | ends | {"header": repr(header)}
        )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> dict[str, tuple]:
    path = tmp_path_factory.mktemp("whole") / "t.h5"
    finish(go_on(path, resume=False))
    assert not state_file.path_of(path).exists()
    return contents(path)


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """A checkpoint after every block."""
    monkeypatch.setattr(hdf5, "CHECKPOINT_S", 0.0)
    monkeypatch.setattr(hdf5, "CHECKPOINT_SHARE", 0.0)


def test_through_a_link(tmp_path, uninterrupted):
    """The file is where the link leads, its checkpoint beside it, and both names lead to both."""
    link, path = tmp_path / "latest.h5", tmp_path / "scratch" / "t.h5"
    link.symlink_to("scratch/t.h5")
    die(go_on(link, 3, resume=False))
    assert {at.name for at in path.parent.iterdir()} == {"t.h5", "t.h5.state"} and len(list(tmp_path.iterdir())) == 2
    die(go_on(path, 5))
    finish(go_on(link))
    assert link.is_symlink() and list(path.parent.iterdir()) == [path] and contents(path) == uninterrupted


# Forks a writer, reads beside it, kills it at a random moment, reads what is left and goes on from there.
KILLS = """
    import os, random, signal, sys, time
    from pathlib import Path
    import numpy as np
    from emulator.trace import CHANNELS
    from emulator.traces import hdf5, state_file
    from tests.unit.test_resume import BLOCKS, ROWS, finish, go_on, rows_of

    hdf5.CHECKPOINT_S = hdf5.CHECKPOINT_SHARE = 0.0
    path, kills, reads, finished = Path(sys.argv[1]), 0, 0, False
    draw = random.Random(int(sys.argv[2]))
    expected = [rows_of(i) for i in range(BLOCKS)]

    def look():
        trace = hdf5.read(path)
        rows = len(trace.time_s)
        assert rows % ROWS == 0 and np.array_equal(trace.time_s, np.arange(rows) / 1000), rows
        for channel in CHANNELS:
            values = getattr(trace, channel.name)
            for i in range(rows // ROWS):
                assert np.array_equal(values[ROWS * i : ROWS * (i + 1)], expected[i][channel.name]), channel.name
        assert [event.value for event in trace.events] == list(range(rows // ROWS))
        return rows

    while kills < int(sys.argv[3]) or not finished:
        resume = state_file.path_of(path).exists()
        writer = os.fork()
        if not writer:
            finish(go_on(path, resume=resume))
            os._exit(0)
        until = time.monotonic() + draw.uniform(0.01, 0.5) if kills < int(sys.argv[3]) else float("inf")
        begun = time.monotonic()
        kept = 0
        while time.monotonic() < until and not os.waitid(os.P_PID, writer, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if state_file.path_of(path).exists():  # it has rows
                rows = look()
                kept, reads = max(kept, rows), reads + 1
        os.kill(writer, signal.SIGKILL)
        status = os.waitpid(writer, 0)[1]
        finished = not os.WIFSIGNALED(status)
        if not finished:
            kills += 1
            if state_file.path_of(path).exists():
                assert look() >= kept
        else:
            assert status == 0
            if kills < int(sys.argv[3]):
                path.unlink()
    print(kills, reads)
"""


@pytest.mark.parametrize("seed", [0])
def test_twenty_kills_at_random_moments(tmp_path, uninterrupted, seed):
    """Whole blocks and right values at any moment, for a reader beside the writer too; in the end, bit for bit what a
    run without kills writes."""
    path = tmp_path / "t.h5"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLS), str(path), str(seed), "20"],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    kills, reads = map(int, done.stdout.split())
    assert kills == 20 and reads > 0
    assert contents(path) == uninterrupted and not state_file.path_of(path).exists()


@pytest.mark.parametrize("network", ["", "nfs4"])
@pytest.mark.parametrize("upto", [1, 9])
def test_resumed_is_bit_identical(tmp_path, monkeypatch, uninterrupted, network, upto):
    """With several blocks behind the checkpoint; also where there is no SWMR."""
    monkeypatch.setattr(hdf5, "network_filesystem", lambda path: network)
    writer = go_on(tmp_path / "t.h5", upto, resume=False)
    settle(writer)
    monkeypatch.setattr(hdf5, "CHECKPOINT_S", 1e9)
    for i in range(upto, upto + 5):
        writer.append(ROWS * i, rows_of(i), [Event(0.0, "lost", "west", 0.0)] * 30)
    die(writer)
    finish(go_on(tmp_path / "t.h5"))
    assert contents(tmp_path / "t.h5") == uninterrupted


@pytest.mark.parametrize("compression", ["none", "lzf"])
def test_other_filters_resume_too(tmp_path, compression):
    header = replace(HEADER, compression=compression)
    finish(go_on(tmp_path / "whole.h5", 6, header, resume=False))
    die(go_on(tmp_path / "t.h5", 4, header, resume=False))
    finish(go_on(tmp_path / "t.h5", 6, header))
    assert contents(tmp_path / "t.h5") == contents(tmp_path / "whole.h5")


def test_interrupted_is_closed_and_resumes(tmp_path, uninterrupted):
    path = tmp_path / "t.h5"
    with pytest.raises(KeyboardInterrupt), go_on(path, 7, resume=False):
        raise KeyboardInterrupt
    assert not superblock.is_marked(path.read_bytes()[: superblock.SIZE])
    assert read(path).stop_reason == "interrupted" and count_rows(path) == 7 * ROWS
    finish(go_on(path))
    assert contents(path) == uninterrupted


@pytest.mark.parametrize("seed", range(6))
def test_power_cut_leaves_what_resumes(tmp_path, uninterrupted, seed):
    """Of what was written behind the checkpoint, each page of 4 KiB is on the disk or not."""
    path, draw = tmp_path / "t.h5", np.random.default_rng(seed)
    writer = go_on(path, 6, resume=False)
    settle(writer)
    before, state = path.read_bytes(), state_file.path_of(path).read_bytes()
    for i in range(6, 12):
        writer.append(ROWS * i, rows_of(i), [Event(0.0, "lost", "west", 0.0)] * 300)
    die(writer)
    after = path.read_bytes()
    pages = [
        (before if draw.random() < 0.5 else after)[at : at + 4096].ljust(min(4096, len(after) - at), b"\0")
        for at in range(0, len(after), 4096)
    ]
    path.write_bytes(b"".join(pages))
    state_file.path_of(path).write_bytes(state)
    finish(go_on(path))
    assert contents(path) == uninterrupted


def test_killed_while_it_is_put_back(tmp_path, uninterrupted):
    """The state file stays, and a second time comes to the same."""
    path = tmp_path / "t.h5"
    die(go_on(path, 5, resume=False))
    _, around = state_file.read(state_file.path_of(path))
    state_file.restore(path, around)
    with path.open("r+b") as file:
        file.write(b"half of it" * 100)
    finish(go_on(path))
    assert contents(path) == uninterrupted


def test_lost_rows_are_not_resumed(tmp_path):
    path = tmp_path / "t.h5"
    die(go_on(path, 5, resume=False))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TraceError, match="was cut since then"):
        go_on(path)


def test_a_living_writer_is_left_alone(tmp_path):
    """Its trace is not put back beneath it; a reader, HDF5's own too, is no hindrance to anybody."""
    path = tmp_path / "t.h5"
    writer = go_on(path, 5, resume=False)
    settle(writer)
    with h5py.File(path, swmr=True) as beside:
        assert len(beside["trace/time_s"]) == 5 * ROWS
    for resume in (True, False):
        with pytest.raises(TraceError, match="another program writes it or holds it open"):
            go_on(path, resume=resume)
    writer.append(5 * ROWS, rows_of(5), [])
    die(writer)
    assert count_rows(path) == 6 * ROWS
    die(go_on(path, 6))


def test_a_replaced_trace_keeps_no_checkpoint(tmp_path):
    path = tmp_path / "t.h5"
    first = go_on(path, 2, resume=False)
    settle(first)
    path.unlink()
    second = go_on(path, 3, resume=False)
    settle(second)
    state = state_file.path_of(path).read_bytes()
    with pytest.raises(TraceError, match="another program has replaced it"):
        first.keep(Checkpoint({"config": ""}, {"next": np.array(9)}))
        settle_in_words(first)
    assert state_file.path_of(path).read_bytes() == state
    die(second)


def settle_in_words(writer: TraceWriter) -> None:
    with writer._failing_in_words():
        settle(writer)


def test_a_new_trace_drops_the_old_checkpoint(tmp_path):
    path = tmp_path / "t.h5"
    die(go_on(path, 3, resume=False))
    writer = TraceWriter(path, HEADER, ROWS)
    assert not state_file.path_of(path).exists()
    die(writer)


@pytest.mark.parametrize(("at", "words"), [(5, "do not agree"), (4000, "do not agree"), (-1, "do not agree")])
def test_damaged_state_is_refused(tmp_path, at, words):
    path = tmp_path / "t.h5"
    die(go_on(path, 3, resume=False))
    state = bytearray(state_file.path_of(path).read_bytes())
    state[at] ^= 1
    state_file.path_of(path).write_bytes(state)
    with pytest.raises(TraceError, match=words):
        state_file.read(state_file.path_of(path))


def test_no_state_is_said(tmp_path):
    with pytest.raises(TraceError, match="no such file, so there is nothing to resume"):
        state_file.read(tmp_path / "t.h5.state")


def test_differences_are_named():
    before = {"config": '[run]\nseed = 1\n[[site]]\nname = "a"\n[site.bess]\npower_mw = 3.0\n', "wattswing": "0.1.0"}
    now = {"config": '[run]\nseed = 1\n[[site]]\nname = "a"\n[site.bess]\npower_mw = 4.0\n', "wattswing": "0.2.0"}
    assert differences(before, before) == []
    assert differences(before, now) == ["wattswing was 0.1.0, now 0.2.0", "site.0.bess.power_mw was 3.0, now 4.0"]
    gone = {"config": "[run]\nseed = 1\n", "wattswing": "0.1.0"}
    assert differences(before, gone) == [
        "site.0.name was 'a', now nothing",
        "site.0.bess.power_mw was 3.0, now nothing",
    ]


def test_checkpoints_cost_a_bounded_share(tmp_path, monkeypatch):
    """The next one is due a multiple of the time later that the last one took."""
    monkeypatch.setattr(hdf5, "CHECKPOINT_SHARE", 1e6)
    writer = go_on(tmp_path / "t.h5", 4, resume=False)
    settle(writer)
    assert not writer.due()
    assert int(state_file.read(state_file.path_of(tmp_path / "t.h5"))[0].arrays["next"]) == 1
    die(writer)


def test_superblock_checksum():
    """The value that lookup3.c gives for its own example, and that of a file written by HDF5."""
    assert superblock.lookup3(b"Four score and seven years ago") == 0x17770551


def test_closed_superblock_is_that_of_hdf5(tmp_path):
    path = write(tmp_path / "t.h5", TWO_SITES, block(TWO_SITES, 10))
    head = path.read_bytes()[: superblock.SIZE]
    assert superblock.closed(head, path.stat().st_size) == head


MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
tmpfs /home/me/scratch\\040disk tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/data/t.h5", ""), ("/home/me/t.h5", "nfs4"), ("/home/me/scratch disk/t.h5", ""),
        ("/home/me/scratch/t.h5", "nfs4"), ("/homes/t.h5", ""),
    ],
)  # fmt: skip
def test_network_file_systems_are_known(tmp_path, monkeypatch, path, kind):
    (tmp_path / "mounts").write_text(MOUNTS)
    monkeypatch.setattr(filesystem, "MOUNTS", tmp_path / "mounts")
    assert filesystem.network_filesystem(Path(path)) == kind


EVENTS = (Event(0.0, "job_start", "west/a", 1.0), Event(0.012, "load_step", "öst", -20.5))


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> tuple[Path, list[tuple[bytes, Trace]]]:
    """A place for damaged files, and whole ones: finished, with each filter, and one whose writer was killed."""
    folder = tmp_path_factory.mktemp("files")
    paths = [
        write(folder / f"{name}.h5", replace(HEADER, compression=name), block(HEADER, 200), EVENTS, 50)
        for name in ("gzip", "none", "lzf")
    ]
    writer = TraceWriter(folder / "killed.h5", HEADER, 50)
    writer.append(0, block(HEADER, 150), EVENTS)
    die(writer)
    return folder / "damaged.h5", [(path.read_bytes(), read(path)) for path in (*paths, folder / "killed.h5")]


def identical(one: Trace, other: Trace) -> bool:
    def bits(value: object) -> object:
        return (value.dtype, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else repr(value)

    return all(bits(value) == bits(getattr(other, name)) for name, value in vars(one).items())


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    which=st.integers(0, 3),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=3),
    hole=st.none() | st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 8192), st.integers(0, 255)),
    length=st.just(1.0) | st.floats(0, 1),
)
def test_damaged_files_read_right_or_are_refused(files, which, flips, hole, length):
    """Bytes changed, a stretch overwritten, the end cut off: never a crash, never garbage, never long."""
    path, whole = files
    content, good = whole[which]
    damaged = bytearray(content)
    for at, change in flips:
        damaged[int(at * len(content))] ^= change
    if hole is not None:
        first = int(hole[0] * len(content))
        damaged[first : first + hole[1]] = bytes([hole[2]]) * len(damaged[first : first + hole[1]])
    path.write_bytes(damaged[: int(length * len(content))])
    pauses, opening.PAUSES_S = opening.PAUSES_S, ()
    try:
        assert identical(read(path), good)
    except TraceError as error:
        assert str(path) in str(error) and bytes(damaged[: int(length * len(content))]) != content
    finally:
        opening.PAUSES_S = pauses


@pytest.mark.parametrize("compression", ["gzip", "none", "lzf"])
@pytest.mark.parametrize("what", ["row", "metric"])
def test_a_changed_number_is_refused(tmp_path, compression, what):
    path = write(tmp_path / "t.h5", replace(HEADER, compression=compression), block(HEADER, 100), EVENTS)
    with h5py.File(path) as file:
        chunk = file["trace/job_power_mw"].id.get_chunk_info(0)
        at = file["metrics/site.west.pcc_peak_mw"].id.get_offset() if what == "metric" else chunk.byte_offset + 21
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(TraceError, match=r"t\.h5: cannot be read as HDF5"):
        read(path)


def test_a_file_of_an_older_program_reads(tmp_path):
    """Without the checked copies of header and metrics, which came later."""
    path = write(tmp_path / "t.h5", HEADER, block(HEADER, 100), EVENTS)
    new = read(path)
    with h5py.File(path, "r+") as file:
        del file["header"], file.attrs["metrics_sha256"]
    old = read(path)
    assert old.header.config == new.header.config and dict(old.header.labels) == dict(new.header.labels)
    assert all(np.array_equal(getattr(old, c.name), getattr(new, c.name)) for c in CHANNELS)
