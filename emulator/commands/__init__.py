"""The commands of `wattswing`, one module each: TEXT, EXAMPLE, `arguments`, `run`."""
