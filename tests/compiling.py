"""How a program is compiled that runs a few times only and has other tests for what the compiler makes of it.

Without optimisation; by XLA's older emitters, which take half as long for the gradient of a job; in one piece.
"""

QUICKLY = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}
