"""Presets: each is valid, and each of its numbers has a source."""

from __future__ import annotations

import re

import pytest

from emulator import catalog, config, jobs_schema, schema
from emulator.config import _kind_path, _leaves
from emulator.limits_schema import Limits

TABLES = {
    "accelerators": jobs_schema.Accelerator,
    "workloads": jobs_schema.Workload,
    "grids": schema.Grid,
    "batteries": schema.Bess,
    "facilities": schema.Facility,
}
EVERY = [(kind, name) for kind in catalog.kinds() for name in catalog.names(kind)]


def value_at(node, path):
    for part in path:
        node = node[part]
    return node


def test_every_kind_has_presets():
    assert {kind for kind, _ in EVERY} == set(catalog.kinds())


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_preset_is_valid(tmp_path, kind, name):
    table = catalog.read(kind, name)
    if kind == "scenarios":
        config.load(name)
    elif kind == "limits":
        Limits.model_validate(table)
    elif kind == "controllers":
        site = {"name": "a", "job": [{"name": "b", "kind": "constant", "power_mw": 1}], "controller": table}
        schema.Site.model_validate(site)
    else:
        TABLES[kind].model_validate(table)
    assert catalog.describe(kind, name)


@pytest.mark.parametrize(("kind", "name"), [case for case in EVERY if case[0] not in ("scenarios", "limits")])
def test_every_number_has_a_source_with_its_tag(kind, name):
    table, sources = catalog.read(kind, name), catalog.sources(kind, name)
    for path in _leaves(table):
        value = value_at(table, path)
        if isinstance(value, int | float) and not isinstance(value, bool):
            key = ".".join(_kind_path(path))
            source = catalog.source_of(sources, key)
            assert source, key
            tagged = re.search(
                r"\[[VSDM]\]|assum|choice|ideal|as \w+_|free|fit|North America|case|server power|restoration", source
            )
            assert tagged, f"{key}: {source}"


@pytest.mark.parametrize("name", catalog.names("limits"))
def test_every_limit_has_source_and_status(name):
    for limit in Limits.model_validate(catalog.read("limits", name)).limit:
        assert limit.source and limit.status in ("in force", "draft", "example")


def test_h100_server_is_a_dgx(scenario):
    device = jobs_schema.Accelerator.model_validate(catalog.read("accelerators", "h100"))
    peak = device.server_fixed_w + (1 + device.server_fraction) * device.tdp_w
    idle = device.server_fixed_w + (1 + device.server_fraction) * device.idle_w
    assert 8 * peak == pytest.approx(10_200, rel=1e-3)
    assert idle / peak == pytest.approx(0.225, rel=1e-3)


def test_gb300_rack_is_its_template():
    device = jobs_schema.Accelerator.model_validate(catalog.read("accelerators", "gb300"))
    idle, peak = (
        72e-3 * (device.server_fixed_w + (1 + device.server_fraction) * w) for w in (device.idle_w, device.tdp_w)
    )
    assert (idle, peak) == pytest.approx((41.0, 136.0), rel=1e-3)
