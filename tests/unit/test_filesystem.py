"""What stands at a path in the end: the whole file or what was there, where links lead, in pipes what they get."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from emulator import plot
from emulator.trace import TraceError
from emulator.traces import history
from emulator.traces.filesystem import must_be_writable, whole
from emulator.traces.history import MEANING, History

from .synthetic import ONE_SITE, block, write


def put(path: Path, text: str = "new") -> None:
    with whole(path) as part:
        part.write_text(text)


@pytest.fixture
def link(tmp_path) -> Path:
    """latest -> kept/to -> kept/file, which is not there yet."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "to").symlink_to("file")
    (tmp_path / "latest").symlink_to("kept/to")
    return tmp_path / "latest"


def test_links_lead_to_what_is_written(link):
    for text in ("first", "second"):
        put(link, text)
        assert os.readlink(link) == "kept/to" and os.readlink(link.parent / "kept" / "to") == "file"
        assert (link.parent / "kept" / "file").read_text() == text
    with pytest.raises(ZeroDivisionError), whole(link) as part:
        part.write_text("third")
        raise ZeroDivisionError
    assert link.read_text() == "second" and sorted(os.listdir(link.parent / "kept")) == ["file", "to"]


def test_a_link_to_a_folder_that_is_not_there_yet(tmp_path):
    (tmp_path / "out").symlink_to("scratch/of/mine")
    must_be_writable(tmp_path / "out" / "a.h5")
    put(tmp_path / "out" / "a.csv")
    assert (tmp_path / "scratch" / "of" / "mine" / "a.csv").read_text() == "new"


@pytest.mark.parametrize(("to", "says"), [(".", "Is a directory"), ("link", "Too many levels of symbolic links")])
def test_links_to_no_file(tmp_path, to, says):
    link = tmp_path / "link"
    link.symlink_to(to)
    for refused in (put, must_be_writable):
        with pytest.raises(TraceError, match=f"cannot write .*link: {says}"):
            refused(link)
    assert os.readlink(link) == to and os.listdir(tmp_path) == ["link"]


def test_every_writer_follows_links(link):
    """Beside those of traces, sweeps and searches, which have tests of their own."""
    columns = {name: np.zeros((1, 1)) for name in MEANING}
    write(link.parent / "t.h5", ONE_SITE, block(ONE_SITE, 30))

    def picture(path: Path) -> None:
        with plot.picture(path.with_suffix(".png")):
            pass

    link.with_suffix(".png").symlink_to("kept/file")
    for writes in (lambda path: history.write(path, History("", columns, [], {})), picture):
        (link.parent / "kept" / "file").write_text("old")
        writes(link)
        assert link.is_symlink() and link.with_suffix(".png").is_symlink()
        assert (link.parent / "kept" / "file").read_bytes()[:4] in (b"\x89HDF", b"\x89PNG")


def test_pipes_and_devices_get_what_is_written(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE, text=True) as reader:
        put(pipe, "through")
        assert reader.communicate()[0] == "through"
    assert pipe.is_fifo() and os.listdir(tmp_path) == ["pipe"]
    with pytest.raises(TraceError, match="cannot write .*pipe: is a pipe or a device, must be a file"):
        must_be_writable(pipe)
    said = "from pathlib import Path; from tests.unit.test_filesystem import put; put(Path('/dev/stdout'))"
    done = subprocess.run([sys.executable, "-c", said], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "new"
    with (tmp_path / "said").open("w") as log:  # which keeps its name, and its other readers
        subprocess.run([sys.executable, "-c", said], stdout=log, check=True)
        assert os.path.samestat(os.fstat(log.fileno()), os.stat(tmp_path / "said"))
    assert (tmp_path / "said").read_text() == "new"
