"""How a program is compiled that runs a few times only and has other tests for what the compiler makes of it."""

QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
