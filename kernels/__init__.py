"""Numerical kernels. They know arrays, not configurations: a plain definition and an accelerated version each."""
