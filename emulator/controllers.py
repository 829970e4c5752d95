"""The controller's table as layout and parameters."""

from __future__ import annotations

from emulator import controller_schema as schema
from emulator.bess import controller, neural
from emulator.clock import ticks_nearest
from emulator.struct import as_array


def controller_layout(table: schema.Controller | schema.Stage, dt_s: float) -> controller.ControllerLayout:
    """Lengths of its rings."""
    stages = table.stage if isinstance(table, schema.CompositeController) else ()
    window_s = table.window_s if isinstance(table, schema.MovingAverageController) else 0.0
    return controller.ControllerLayout(
        window_ticks=ticks_nearest(window_s, dt_s), stages=tuple(controller_layout(stage, dt_s) for stage in stages)
    )


def controller_params(table: schema.Controller | schema.Stage) -> controller.ControllerParams | None:
    """Its numbers; None for none."""
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
        case schema.CompositeController():
            stages = (controller_params(stage) for stage in table.stage)
            return controller.CompositeParams(tuple(stage for stage in stages if stage is not None))
