"""What ends a run, and at which row."""

from __future__ import annotations

import numpy as np
import pytest

from emulator import account
from tests.unit.synthetic import TWO_SITES, block


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_first_value_that_is_not_finite_ends_the_run(value):
    rows, status = block(TWO_SITES, 10), np.zeros((10, 2), np.int32)
    rows["job_power_mw"][7, 0] = rows["site_pcc_power_mw"][4, 1] = value
    assert account._physical_stop(TWO_SITES, rows, status, 100, 1) == ("a value is not finite at 0.104 s", 5)


@pytest.mark.parametrize("name", account.MAY_BE_NAN)
def test_what_may_be_missing_does_not(name):
    rows, status = block(TWO_SITES, 10), np.zeros((10, 2), np.int32)
    rows[name][:] = np.nan
    assert account._physical_stop(TWO_SITES, rows, status, 0, 1) == ("", 10)
