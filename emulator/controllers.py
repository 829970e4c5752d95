"""The controller's table as layout and parameters."""

from __future__ import annotations

import jax
import numpy as np

from emulator import controller_schema as schema
from emulator.bess import band_stop, controller, lqr, mpc, neural, preview
from emulator.clock import ticks_nearest
from emulator.struct import as_array


def controller_layout(
    table: schema.Controller | schema.Stage, dt_s: float, acts_after_s: float
) -> controller.ControllerLayout:
    """Lengths of its rings. acts_after_s: from an order to its effect."""
    stages = table.stage if isinstance(table, schema.CompositeController) else ()
    window_s, lead_s, step_s, steps, iterations = 0.0, 0.0, 0.0, 0, 0
    if isinstance(table, schema.MovingAverageController):
        window_s = table.window_s
    if isinstance(table, schema.RepetitiveController | schema.MpcController):
        window_s = table.period_s
    if isinstance(table, schema.MpcController):
        step_s, steps, iterations = table.step_s, table.steps, table.iterations
    if isinstance(table, schema.RepetitiveController | schema.FeedForwardController | schema.MpcController):
        lead_s = acts_after_s if table.lead_s is None else table.lead_s
    return controller.ControllerLayout(
        window_ticks=ticks_nearest(window_s, dt_s),
        lead_ticks=ticks_nearest(lead_s, dt_s),
        step_ticks=ticks_nearest(step_s, dt_s),
        steps=steps,
        iterations=iterations,
        stages=tuple(controller_layout(stage, dt_s, acts_after_s) for stage in stages),
    )


def controller_params(
    table: schema.Controller | schema.Stage, plan_mw: tuple[jax.Array, ...], feedback: np.ndarray
) -> controller.ControllerParams | None:
    """Its numbers; None for none.

    Args:
      plan_mw: what each planned job draws over an iteration, less its mean.
      feedback: gains of a state feedback.
    """
    match table:
        case schema.NoController():
            return None
        case schema.LowPassController():
            return controller.LowPassParams(as_array(table.cutoff_hz), as_array(table.soc_gain))
        case schema.RampLimitController():
            return controller.RampLimitParams(as_array(table.ramp_mw_per_s), as_array(table.soc_gain))
        case schema.MovingAverageController():
            return controller.MovingAverageParams(as_array(table.soc_gain))
        case schema.ExpandingMeanController():
            return controller.ExpandingMeanParams(as_array(table.soc_gain))
        case schema.DroopController():
            gains = (1.0 / table.droop_pu, table.deadband_pu, table.soc_gain)
            return controller.DroopParams(*(as_array(gain) for gain in gains))
        case schema.VirtualInertiaController():
            numbers = (table.inertia_s, table.filter_s, table.soc_gain)
            return controller.VirtualInertiaParams(*(as_array(number) for number in numbers))
        case schema.NeuralController():
            layers = {name: as_array(value) for name, value in neural.weights(table.seed, table.last).items()}
            return neural.NeuralParams(average_s=as_array(table.average_s), soc_gain=as_array(table.soc_gain), **layers)
        case schema.BandStopController():
            low, high = (as_array([getattr(band, edge) for band in table.band]) for edge in ("low_hz", "high_hz"))
            return band_stop.BandStopParams(low, high, as_array(table.soc_gain))
        case schema.FeedForwardController():
            return preview.FeedForwardParams(plan_mw, as_array(table.cutoff_hz), as_array(table.soc_gain))
        case schema.RepetitiveController():
            gains = (table.learning_gain, table.cutoff_hz, table.soc_gain)
            return preview.RepetitiveParams(*(as_array(gain) for gain in gains))
        case schema.LqrController():
            numbers = (feedback, 0.0, table.cutoff_hz, table.soc_gain)
            return lqr.LqrParams(*(as_array(number) for number in numbers))
        case schema.MpcController():
            numbers = (table.learning_gain, table.change_mw, table.energy_mwh, table.soc_gain)
            return mpc.MpcParams(*(as_array(number) for number in numbers))
        case schema.CompositeController():
            stages = (controller_params(stage, plan_mw, feedback) for stage in table.stage)
            return controller.CompositeParams(tuple(stage for stage in stages if stage is not None))
