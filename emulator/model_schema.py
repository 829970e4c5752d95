"""Table of a model and the machine that trains it, from which phases are derived."""

from __future__ import annotations

from emulator.tables import Table, key


class TrainingModel(Table):
    """Model, parallelism and machine."""

    parameters: float = key("of the model", unit="1", gt=0)
