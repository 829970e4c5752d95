"""A controller of one's own in the place of a site's: its equations in JAX, everything about it the plant's."""

from __future__ import annotations

from dataclasses import replace

import jax

from emulator.bess.controller import Controller
from emulator.complaint import must_be
from emulator.plant import Layout, Params
from emulator.rollout import State, initial_state


def with_controller(layout: Layout, params: Params, controller: Controller, site: int = 0) -> tuple[Params, State]:
    """`params` with a controller of one's own at a site, and the state before the first tick that goes with it.

    What the controller's numbers are may be traced: `rollout` is differentiable in them, whatever else it is in.

    Args:
      site: place of the site in the configuration; its `[site.controller]` is replaced.

    Raises:
      TypeError: the controller is none.
      ValueError: there is no such site, or it has no battery.
    """
    must_be(controller, Controller, "a class of your own derived from em.Controller")
    if len(jax.tree.leaves(controller)) == 1 and jax.tree.leaves(controller)[0] is controller:
        raise TypeError(f"{type(controller).__name__} is no pytree: register it, @jax.tree_util.register_dataclass")
    if not 0 <= site < len(params.sites):
        raise ValueError(f"site {site}: there are {len(params.sites)}, numbered from 0")
    its = params.sites[site]
    if its.storage is None:
        raise ValueError(f"site {site} has no battery to control: give it [site.bess]")
    its = replace(its, storage=replace(its.storage, controller=controller))
    params = replace(params, sites=(*params.sites[:site], its, *params.sites[site + 1 :]))
    return params, initial_state(layout, params)
