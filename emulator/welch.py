"""Amplitude spectra of a long power series, over all of it and over time, in bounded memory.

Amplitudes are those of a sine: one of amplitude A in the middle of a line reads A. Power is averaged over samples of
10 ms first, whose effect on the amplitude, sinc(f T), is undone. For shares of a band see `spectrum.py`.
Reference: P. D. Welch, IEEE Trans. Audio Electroacoust. 15(2):70, 1967.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

SEGMENT_S = 400.0  # four periods of the lowest frequency shown, 0.01 Hz
SAMPLE_S = 0.01  # power is averaged over this before its spectrum is taken


class _Segments:
    """Cuts a series into segments of `length` samples that begin `hop` samples apart."""

    def __init__(self, rows: int, row_s: float, segment_s: float, overlap: int) -> None:
        """overlap: how many segments cover a sample."""
        self._group = max(1, int(SAMPLE_S / row_s * (1 + 1e-9)))
        self.sample_s = self._group * row_s
        self.length = min(rows // self._group, round(segment_s / self.sample_s))
        self.hop = max(1, self.length // overlap)
        self._rest, self._waiting = np.zeros(0), np.zeros(0)

    def add(self, power: np.ndarray) -> Iterator[np.ndarray]:
        """Segments that the next rows, (rows,), complete. None of a series of less than four samples."""
        if self.length < 4:
            return
        rows = np.concatenate([self._rest, power])
        whole = len(rows) // self._group * self._group
        self._rest = rows[whole:]
        self._waiting = np.concatenate([self._waiting, rows[:whole].reshape(-1, self._group).mean(axis=1)])
        while len(self._waiting) >= self.length:
            yield self._waiting[: self.length]
            self._waiting = self._waiting[self.hop :]

    @property
    def frequency_hz(self) -> np.ndarray:
        """(lines,)"""
        return np.fft.rfftfreq(max(1, self.length), self.sample_s)


def _squares(segment: np.ndarray) -> np.ndarray:
    """(lines,) squared amplitudes of a segment without its mean, through a Hann window."""
    window = np.hanning(len(segment) + 1)[:-1]
    return np.abs(np.fft.rfft((segment - segment.mean()) * window) * 2.0 / window.sum()) ** 2


class Welch:
    """Spectrum of a whole run: Hann windows of at most 400 s, overlapping by half, squares averaged."""

    def __init__(self, rows: int, row_s: float) -> None:
        self._segments = _Segments(rows, row_s, SEGMENT_S, 2)
        self._squares, self._count = np.zeros(self._segments.length // 2 + 1), 0

    def add(self, power: np.ndarray) -> None:
        """The next rows, (rows,)."""
        for segment in self._segments.add(power):
            self._squares += _squares(segment)
            self._count += 1

    def result(self, low_hz: float, high_hz: float) -> tuple[np.ndarray, np.ndarray]:
        """Frequencies in Hz within a range, and amplitudes; both empty for a run that is too short."""
        hz = self._segments.frequency_hz
        shown = (hz >= low_hz * 0.999) & (hz <= high_hz * 1.001)
        if not self._count or not shown.any():
            return np.zeros(0), np.zeros(0)
        amplitude = np.sqrt(self._squares / self._count) / np.sinc(hz * self._segments.sample_s)
        return hz[shown], amplitude[shown]

    @property
    def segment_s(self) -> float:
        """Length of a window."""
        return self._segments.length * self._segments.sample_s


class Spectrogram:
    """Spectra over time: Hann windows of a thirtieth of the run, 2 s to 40 s, four of them covering each moment.

    Columns are even in time, at most `columns`, each the mean square of the windows centred in it. Lines are even in
    logarithms from two periods a window up to `high_hz`, each the largest of the transform's lines in its range.
    """

    def __init__(self, rows: int, row_s: float, high_hz: float, columns: int, lines: int) -> None:
        self._segments = _Segments(rows, row_s, min(max(rows * row_s / 30.0, 2.0), 40.0), 4)
        hz, length = self._segments.frequency_hz, self._segments.length
        samples = int(rows * row_s / self._segments.sample_s * (1 + 1e-9))
        self._windows = (samples - length) // self._segments.hop + 1 if length >= 8 else 0
        columns, lines = min(columns, self._windows), lines if self._windows else 0
        self._squares, self._count, self._seen = np.zeros((columns, lines)), np.zeros((columns, 1)), 0
        self.low_hz, self.high_hz = hz[min(2, len(hz) - 1)], min(high_hz, hz[-1])
        edges_hz = np.geomspace(self.low_hz, self.high_hz, lines + 1) if lines else np.zeros(1)
        self._last = int(np.searchsorted(hz, self.high_hz * (1.0 + 1e-9)))
        self._first = np.minimum(np.searchsorted(hz, edges_hz[:-1]), self._last - 1)
        self._gain = 1.0 / np.sinc(hz * self._segments.sample_s) ** 2

    def add(self, power: np.ndarray) -> None:
        """The next rows, (rows,)."""
        for segment in self._segments.add(power):
            if self._seen == self._windows:
                return
            column = self._seen * len(self._squares) // self._windows
            squares = (_squares(segment) * self._gain)[: self._last]
            self._squares[column] += np.maximum.reduceat(squares, self._first)
            self._count[column] += 1
            self._seen += 1

    @property
    def amplitude(self) -> np.ndarray:
        """(columns, lines) empty for a run that is too short."""
        return np.sqrt(self._squares / np.maximum(self._count, 1))

    @property
    def span_s(self) -> tuple[float, float]:
        """Time from the run's start to the first column's beginning, and to the last one's end."""
        hop_s = self._segments.hop * self._segments.sample_s
        first_s = 0.5 * (self.window_s - hop_s)
        return first_s, first_s + self._windows * hop_s

    @property
    def window_s(self) -> float:
        """Length of a window."""
        return self._segments.length * self._segments.sample_s
