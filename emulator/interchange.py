"""Flows of the ties at the start, from what the areas are scheduled to export. No JAX: a bad grid is refused early.

sum over ties of +-K sin(theta_first - theta_second) = interchange,   every angle across a tie below 90 degrees
"""

from __future__ import annotations

import math

from emulator.grid_schema import Grid

MOST_STEPS = 100
NEAR_MW = 1e-9


def initial_flows_mw(grid: Grid) -> list[float] | None:
    """Flow of each tie, MW; None where no angles carry the schedule. The areas must be connected.

    Given flows are taken as they are. Newton's method with halved steps, from equal angles: below 90 degrees the flows
    are the gradient of a convex function of the angles, so that there is one solution at most and this finds it.
    """
    if not grid.tie or any(area.interchange_mw is None for area in grid.area):
        return [tie.initial_mw or 0.0 for tie in grid.tie]
    import numpy as np

    names = [area.name for area in grid.area]
    ends = np.array([[names.index(name) for name in tie.between] for tie in grid.tie])
    incidence = np.zeros((len(names), len(grid.tie)))
    incidence[ends[:, 0], np.arange(len(grid.tie))] = 1.0
    incidence[ends[:, 1], np.arange(len(grid.tie))] = -1.0
    k = np.array([tie.synchronizing_mw_per_rad for tie in grid.tie])
    wanted = np.array([area.interchange_mw for area in grid.area])
    theta = np.zeros(len(names))

    def missing(theta: np.ndarray) -> np.ndarray:
        return wanted - incidence @ (k * np.sin(incidence.T @ theta))

    for _ in range(MOST_STEPS):
        gap = missing(theta)
        if np.abs(gap).max() < NEAR_MW * max(1.0, np.abs(wanted).max()):
            return [float(flow) for flow in k * np.sin(incidence.T @ theta)]
        slope = (incidence * (k * np.cos(incidence.T @ theta))) @ incidence.T
        step = np.zeros(len(names))  # the first area's angle stays
        step[1:] = np.linalg.lstsq(slope[1:, 1:], gap[1:], rcond=None)[0]
        size = 1.0
        while size > 1e-6:
            ahead = theta + size * step
            inside = np.abs(incidence.T @ ahead).max() < math.pi / 2
            if inside and np.linalg.norm(missing(ahead)) < np.linalg.norm(gap):
                break
            size /= 2.0
        else:
            return None
        theta = ahead
    return None
