"""The part of Model that takes it to other programs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from .. import _core
from ..base import checks
from ..errors import BusyError


class Leaving:
    """Base of `Looks`."""

    name: str
    dtype: str
    weights: Any
    _built: Any
    _training: _core.Gate

    @contextlib.contextmanager
    def _still(self, what: str) -> Iterator[Any]:
        """The engine, for what is made of weights of one moment: BusyError if they change."""
        engine, before = self._built(), self._edits()
        if engine.compute != engine.dtype:
            raise ValueError(
                f"model {self.name!r} computes in {engine.compute}, expected {engine.dtype}, as "
                "other programs do; make the model again without compute=, and give it the weights "
                "by set_weights"
            )
        self._check_still(what, before)
        yield engine
        self._check_still(what, before)

    def _check_still(self, what: str, before: int) -> None:
        if self._edits() != before or (self._training.held and not self._training.mine):
            raise BusyError(
                f"model {self.name!r} is training in another thread, got a call of {what} "
                "meanwhile, whose file would hold weights of different moments; wait for fit to "
                "end, or call it in a callback"
            )

    def _edits(self) -> int:
        """How often weights have changed, by this model or another one that has them, too."""
        return sum(p.held()[2].value for p in self.weights)

    def to_onnx(self, path: Any, opset: int = 17) -> None:
        """Write the model as an ONNX file, which computes what `predict` does.

        Parameters
        ----------
        path : path
            Of the file, written whole or not at all.
        opset : int
            The version of ONNX's operations, 17 to 23, or to the newest that the package knows.

        Raises
        ------
        NotBuiltError
            The model has no weights yet.
        BusyError
            Another thread is training it.
        ImportError
            The package ``onnx`` is missing (``pip install 'bpcore[onnx]'``).
        ValueError
            A layer is written in Python, or depends on the number of steps that an Input leaves
            open; a weight is NaN or infinite; the opset is another; there are more than 2 GiB of
            weights.

        Notes
        -----
        Inputs and outputs have the model's names and dtype, ids are int64; batches may be of any
        size, and sequences of any length where the Input leaves it open. What becomes of each layer
        is told in ``docs/export.md``. Format: https://onnx.ai/onnx/.

        Examples
        --------
        >>> import bpcore as bp
        >>> layers = [bp.Input((4,)), bp.layers.Dense(2, "relu")]
        >>> bp.Sequential(layers, seed=0).to_onnx("net.onnx")  # doctest: +SKIP
        >>> import onnx  # doctest: +SKIP
        >>> [node.op_type for node in onnx.load("net.onnx").graph.node]  # doctest: +SKIP
        ['Gemm', 'Relu']
        """
        from ..export import onnx
        from ..files.atomic import write_atomically

        name = checks.path(path)
        with self._still("to_onnx") as engine:
            ends = engine.input_tensors, engine.output_tensors
            names = engine.signature.inputs.names, engine.signature.outputs.names
            content = onnx.model(self.name, engine.nodes, ends, names, engine.dtype, opset)
        write_atomically(name, content)

    def to_c(
        self,
        path: Any,
        name: str = "net",
        test_vectors: Any = None,
        int8: bool = False,
        calibration: Any = None,
    ) -> None:
        """Write the model as one C99 file, and a header beside it, for microcontrollers and others.

        Parameters
        ----------
        path : path
            Of the file, ``*.c``; its header is ``*.h``. Each is written whole or not at all.
        name : str
            What all names in C begin with.
        test_vectors : array (N, ...), or list, tuple or dict for several inputs, optional
            Rows that go into the file together with the model's answers, for its self test.
        int8 : bool
            Dense layers in whole numbers of 8 bits: a quarter of the size, and no products of
            floats. Answers then differ from those of `predict` by about a hundredth.
        calibration : array (N, ...), or list, tuple or dict for several inputs
            With `int8`: rows like those that will come, from which each value's range is found.

        Raises
        ------
        NotBuiltError
            The model has no weights yet.
        BusyError
            Another thread is training it.
        ValueError
            `name` is no name in C, a layer has no counterpart in C, or a weight or an answer to
            test vectors is NaN or infinite; nothing was written.
        FileExistsError
            There is a header already that is not of bpcore's.

        Notes
        -----
        The file needs a C99 compiler and <math.h>, and no memory but its own: weights are
        constants, values between layers lie in one static buffer. It has
        ``void net_predict(const float *x, float *y)`` (double for a float64 model, one pointer for
        each input and output, int32_t for ids), which computes what `predict` does for one sample;
        sizes as macros; and with `test_vectors` ``int net_self_test(void)``: how many rows are
        answered wrongly. Where the input leaves its length open, as for `stream`, it has
        ``net_step`` and ``net_reset``, of one step and the caller's ``net_state``. Compiled with
        ``-DNET_MAIN`` it is a program. See docs/export.md.

        Examples
        --------
        >>> import bpcore as bp, os, tempfile
        >>> model = bp.Sequential([bp.Input((2,)), bp.layers.Dense(1, "tanh")], seed=0)
        >>> path = os.path.join(tempfile.mkdtemp(), "net.c")
        >>> model.to_c(path, test_vectors=[[0.0, 1.0]])
        >>> sorted(os.listdir(os.path.dirname(path)))
        ['net.c', 'net.h']
        """
        from . import in_c

        with self._still("to_c") as engine:
            made = in_c.files(self, engine, path, name, test_vectors, int8, calibration)
        in_c.write(*made)
