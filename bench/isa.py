"""Libraries limited to an instruction set, so that one machine shows what an older one would do."""

from __future__ import annotations

import importlib.util
import os
import time

from . import onednn

# Read when a library is loaded. NumPy's own loops: the groups that it has above AVX2. XLA's flag
# holds the code that it compiles; products it gives to YNNPACK, which heeds nothing, unless that
# is turned off: they are Eigen's then, compiled for AVX2.
VARIABLES = {
    "v3": {
        "BPCORE_ISA": "v3",
        "OPENBLAS_CORETYPE": "Haswell",
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2 --xla_cpu_experimental_ynn_fusion_type=",
    }
}
SIZE, TRIES = 1024, 5
EIGEN = " JAX's products are Eigen's here: YNNPACK, which it would take, heeds no such variable."


def limit(isa: str) -> None:
    """Before anything but this package is imported."""
    os.environ.update(VARIABLES[isa])


def _products() -> dict:
    """A product of SIZE^3 in each library, float32."""
    import numpy as np

    a = np.random.default_rng(0).random((SIZE, SIZE), dtype=np.float32)
    calls = {"NumPy": lambda: a @ a}
    if importlib.util.find_spec("torch"):
        import torch

        tensor = torch.from_numpy(a)
        calls["PyTorch"] = lambda: tensor @ tensor
    if importlib.util.find_spec("jax"):
        import jax

        array = jax.numpy.asarray(a)
        calls["JAX"] = lambda: (array @ array).block_until_ready()
    if path := onednn.library_path():
        products = onednn.OneDnn(path).products(a, a, np.empty_like(a), False, False)
        calls["oneDNN"] = products["sgemm"]
    return calls


def check(peak: float) -> dict[str, float]:
    """Best product of each library over the limited tier's FMA peak: above 1 it is not limited."""
    found = {}
    for name, call in _products().items():
        seconds = []
        for _ in range(TRIES + 1):
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
        found[name] = 2 * SIZE**3 / min(seconds[1:]) / peak
    return found


def sentence(isa: str, shares: dict[str, float]) -> str:
    parts = [
        f"{name} {share:.0%}{'' if share <= 1 else ' (NOT limited)'}"
        for name, share in shares.items()
    ]
    return (
        f"Everything is limited to {isa} by environment variables. That it took effect: the best "
        f"product of {SIZE}^3, as a share of the FMA peak of {isa}: {', '.join(parts)}."
        + (EIGEN if "JAX" in shares else "")
    )
