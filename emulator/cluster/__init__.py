"""Accelerators and jobs: what the IT load draws, in SI units. Load positive."""
