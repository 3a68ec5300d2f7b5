"""oneDNN's two products, called through its C API: a call costs about as much as one of bpcore's.

The library is that of the package onednn-cpu-gomp (OpenMP of GCC, as PyTorch's and bpcore's).
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
from collections.abc import Callable

PACKAGE = "onednn-cpu-gomp"
CPU, DEFAULT_FLAGS, F32 = 1, 1, 3  # dnnl_cpu, dnnl_stream_default_flags, dnnl_f32
SOURCE, WEIGHTS, DESTINATION = 1, 33, 17  # DNNL_ARG_*
Handle, Size = ctypes.c_void_p, ctypes.c_int64


class Argument(ctypes.Structure):
    _fields_ = (("index", ctypes.c_int), ("memory", Handle))


def library_path() -> str | None:
    """Where the package put the library; None if it is not installed."""
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((str(f.locate()) for f in files if f.name == "libdnnl.so.3"), None)


class OneDnn:
    def __init__(self, path: str):
        self.library = ctypes.CDLL(path)
        self.engine = self._made("engine_create", CPU, ctypes.c_size_t(0))
        self.stream = self._made("stream_create", self.engine, DEFAULT_FLAGS)

    def set_threads(self, n: int) -> None:
        """OpenMP's number, that of all libraries on the same OpenMP."""
        self.library.omp_set_num_threads(n)

    def products(self, a, b, c, transpose_a: bool, transpose_b: bool) -> dict[str, Callable]:
        """C = op(A) op(B), float32 and row-major, by either function. They hold on to the arrays,
        and to the number of threads of now."""
        m, n = c.shape
        k = a.shape[0] if transpose_a else a.shape[1]
        number = ctypes.c_float
        letters = [ctypes.c_char(b"T" if t else b"N") for t in (transpose_a, transpose_b)]
        left, right, to = (Handle(array.ctypes.data) for array in (a, b, c))
        sgemm = functools.partial(
            self.library.dnnl_sgemm, *letters, Size(m), Size(n), Size(k), number(1), left,
            Size(a.shape[1]), right, Size(b.shape[1]), number(0), to, Size(n),
        )  # fmt: skip
        sgemm.arrays = a, b, c
        primitive = self._primitive(
            (a, (m, k), (1, m) if transpose_a else (k, 1)),
            (b, (k, n), (1, k) if transpose_b else (n, 1)),
            (c, (m, n), (n, 1)),
        )
        primitive.arrays = a, b, c
        return {"sgemm": sgemm, "matmul": primitive}

    def _primitive(self, *operands) -> functools.partial:
        layouts = [
            self._made("memory_desc_create_with_strides", 2, (Size * 2)(*shape), F32,
                       (Size * 2)(*strides))
            for _, shape, strides in operands
        ]  # fmt: skip
        memories = [
            self._made("memory_create", layout, self.engine, Handle(array.ctypes.data))
            for layout, (array, *_) in zip(layouts, operands, strict=True)
        ]
        left, right, to = layouts
        description = self._made(
            "matmul_primitive_desc_create", self.engine, left, right, None, to, None
        )
        primitive = self._made("primitive_create", description)
        indices = (SOURCE, WEIGHTS, DESTINATION)
        arguments = (Argument * 3)(*zip(indices, memories, strict=True))
        return functools.partial(
            self.library.dnnl_primitive_execute, primitive, self.stream, 3, arguments
        )

    def _made(self, function: str, *arguments) -> Handle:
        """What dnnl_<function>(&handle, ...) makes."""
        handle = Handle()
        status = self.library["dnnl_" + function](ctypes.byref(handle), *arguments)
        if status != 0:
            raise RuntimeError(f"dnnl_{function}: status {status}")
        return handle
