"""The device path as a small C program, one thread, for comparison: what a compiler makes of the same arithmetic."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

# Level by events, first-order lag, own noise, smoothing without timers, sums of power and demand: blocks of devices
# that stay in the cache go through all ticks. One event a device every 250 ticks, skewed over 40 of them.
SOURCE = r"""
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#define BLOCK 1024
static float target[BLOCK], level[BLOCK], own[BLOCK], lower[BLOCK], gain[BLOCK], power[BLOCK], demand[BLOCK];
static uint32_t key[BLOCK], word[BLOCK];
static int event[BLOCK];
static uint32_t hash(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
}
int main(int argc, char **argv) {
  int devices = atoi(argv[1]), ticks = atoi(argv[2]);
  float *total = calloc(2 * ticks, sizeof(float));
  struct timespec begin, end;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  for (int first = 0; first < devices; first += BLOCK) {
    for (int i = 0; i < BLOCK; i++) {
      target[i] = level[i] = own[i] = lower[i] = 0;
      gain[i] = 1 + 1e-5f * i;
      key[i] = hash(first + i);
      event[i] = key[i] % 40;
    }
    for (int n = 0; n < ticks; n++) {
      if (n % 32 == 0)
        for (int i = 0; i < BLOCK; i++) word[i] = hash(key[i] ^ (n / 32 * 0x9e3779b9u));
      if (n % 250 < 40)
        for (int i = 0; i < BLOCK; i++) target[i] += event[i] == n % 250 ? (n % 500 < 250 ? .85f : -.85f) : 0;
      for (int i = 0; i < BLOCK; i++) {
        float way = target[i] - level[i];
        level[i] += .05f * way;
        own[i] = .99f * own[i] + (word[i] >> (n % 32) & 1 ? .14f : -.14f);
        float d = gain[i] * (level[i] + .05f * own[i]), seen = d - gain[i] * .025f * way;
        float f = lower[i] + (seen > .02f ? 1e-4f : -1e-4f);
        f = f < 0 ? 0 : f > .8f ? .8f : f;
        float m = .5f * (lower[i] + f), top = f < .8f ? m + .2f : 1e9f, p = d < top ? d : top;
        lower[i] = f;
        power[i] = p > m ? p : m;
        demand[i] = d;
      }
      float p = 0, d = 0;
      for (int i = 0; i < BLOCK; i++) p += power[i], d += demand[i];
      total[2 * n] += p;
      total[2 * n + 1] += d;
    }
  }
  clock_gettime(CLOCK_MONOTONIC, &end);
  printf("%.9g %.9g\n", end.tv_sec - begin.tv_sec + 1e-9 * (end.tv_nsec - begin.tv_nsec), total[ticks - 1]);
  return 0;
}
"""


def device_rate(devices: int, ticks: int) -> float:
    """Device-ticks per second on one core, best of three; NaN where the machine has no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return float("nan")
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder) / "loop.c", Path(folder) / "loop"
        source.write_text(SOURCE)
        subprocess.run([compiler, "-O3", "-march=native", "-ffast-math", "-o", program, source], check=True)
        runs = [subprocess.run([program, str(devices), str(ticks)], check=True, capture_output=True) for _ in range(3)]
    return devices * ticks / min(float(run.stdout.split()[0]) for run in runs)
