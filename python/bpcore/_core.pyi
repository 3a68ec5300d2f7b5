"""
The compiled core of bpcore. Private: use the package's public names.
"""

from __future__ import annotations

import collections.abc
import typing

import numpy
import numpy.typing

__all__: list[str] = [
    "Counter",
    "Crew",
    "Diverged",
    "Factors",
    "Finally",
    "Gate",
    "Network",
    "NetworkFloat32",
    "NetworkFloat64",
    "PassesFloat32",
    "PassesFloat64",
    "PlainParts",
    "Restored",
    "Solver",
    "StreamFloat32",
    "StreamFloat64",
    "StretchFloat32",
    "StretchFloat64",
    "ThreadCount",
    "Trainer",
    "TrainerFloat32",
    "TrainerFloat32Handle",
    "TrainerFloat64",
    "TrainerFloat64Handle",
    "Turn",
    "activation",
    "activation_grad",
    "activation_names",
    "assign_all",
    "available_cpus",
    "blend",
    "change_teams",
    "config",
    "empty",
    "exact_threads",
    "fill_all",
    "fma_peak",
    "gauss_newton_vector",
    "get_num_threads",
    "has_fma",
    "hessian_vector",
    "hold",
    "input_jacobian",
    "jacobian",
    "loss_names",
    "math",
    "matmul",
    "normal",
    "optimizer_names",
    "permutation",
    "philox",
    "quota_cpus",
    "rehearse",
    "round_all_products",
    "sample_gradients",
    "scan",
    "select_bfloat16",
    "select_tier",
    "set_num_threads",
    "set_patience",
    "slot_count",
    "slot_initial_value",
    "slot_lowest",
    "slot_name",
    "threads_in_use",
    "uniform",
    "use_caches",
]

class Diverged(RuntimeError):
    """
    A number is not finite; args[1] tells where.
    """

class Crew:
    def __init__(self) -> None: ...
    def add(
        self,
        size: typing.SupportsInt | typing.SupportsIndex,
        units: typing.SupportsFloat | typing.SupportsIndex,
        seconds: typing.SupportsFloat | typing.SupportsIndex,
        now: typing.SupportsFloat | typing.SupportsIndex,
    ) -> bool: ...
    def explain(self) -> str: ...
    def next(
        self,
        most: typing.SupportsInt | typing.SupportsIndex,
        guess: typing.SupportsFloat | typing.SupportsIndex,
        now: typing.SupportsFloat | typing.SupportsIndex,
    ) -> int: ...

class Counter:
    def __init__(self, value: typing.SupportsInt | typing.SupportsIndex = 0) -> None: ...
    @property
    def value(self) -> int: ...
    @value.setter
    def value(self, arg1: typing.SupportsInt | typing.SupportsIndex) -> None: ...

class Turn:
    def __enter__(self) -> typing.Any: ...
    def __exit__(self, arg0: typing.Any, arg1: typing.Any, arg2: typing.Any) -> None: ...

class ThreadCount:
    def __enter__(self) -> None: ...
    def __exit__(self, arg0: typing.Any, arg1: typing.Any, arg2: typing.Any) -> None: ...
    def __init__(
        self, n: typing.SupportsInt | typing.SupportsIndex, exact: bool = False
    ) -> None: ...

class Finally:
    def __enter__(self) -> None: ...
    def __exit__(self, arg0: typing.Any, arg1: typing.Any, arg2: typing.Any) -> None: ...
    def __init__(self, calls: list, what: str) -> None: ...

class Restored:
    def __enter__(self) -> None: ...
    def __exit__(self, arg0: typing.Any, arg1: typing.Any, arg2: typing.Any) -> None: ...
    def __init__(self, states: list) -> None: ...

class Gate:
    def __init__(self) -> None: ...
    def enter(self) -> Turn:
        """
        A turn, or None if another call is inside.
        """
    def wait(self) -> Turn:
        """
        A turn, when the calls of other threads are over; None if this thread's own is inside.
        """
    @property
    def held(self) -> bool: ...
    @property
    def mine(self) -> bool: ...

class NetworkFloat32:
    def carried(self) -> dict: ...
    def describe(self) -> str: ...
    def forward(
        self,
        xs: collections.abc.Sequence[numpy.ndarray],
        training: bool = False,
        outs: typing.Any = None,
        draw: typing.SupportsInt | typing.SupportsIndex = 0,
        commit: bool = True,
    ) -> list: ...
    def shape(self, node: typing.SupportsInt | typing.SupportsIndex) -> tuple: ...
    @property
    def call(self) -> typing.Any: ...
    @property
    def dtype(self) -> str: ...
    @property
    def flops_per_sample(self) -> int: ...
    @property
    def rounded(self) -> dict[str, str]: ...

class NetworkFloat64:
    def carried(self) -> dict: ...
    def describe(self) -> str: ...
    def forward(
        self,
        xs: collections.abc.Sequence[numpy.ndarray],
        training: bool = False,
        outs: typing.Any = None,
        draw: typing.SupportsInt | typing.SupportsIndex = 0,
        commit: bool = True,
    ) -> list: ...
    def shape(self, node: typing.SupportsInt | typing.SupportsIndex) -> tuple: ...
    @property
    def call(self) -> typing.Any: ...
    @property
    def dtype(self) -> str: ...
    @property
    def flops_per_sample(self) -> int: ...
    @property
    def rounded(self) -> dict[str, str]: ...

class TrainerFloat32Handle:
    pass

class TrainerFloat32(TrainerFloat32Handle):
    def apply(
        self,
        gradients: list,
        learning_rate: typing.SupportsFloat | typing.SupportsIndex,
        then: typing.Any = None,
    ) -> typing.Any: ...
    def check_gathered(
        self, state: dict, samples: typing.SupportsInt | typing.SupportsIndex = -1
    ) -> None: ...
    def delta(self, node: typing.SupportsInt | typing.SupportsIndex) -> numpy.ndarray: ...
    def describe(self) -> str: ...
    def drop_data(self) -> None: ...
    def end_pass(self, learning_rate: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    def flush(self, learning_rate: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    def gathered(self) -> dict: ...
    def gathered_sizes(
        self, samples: typing.SupportsInt | typing.SupportsIndex = -1
    ) -> list[list[int]]: ...
    def gradients(
        self,
        xs: collections.abc.Sequence[numpy.ndarray],
        ys: list,
        weights: list,
        wrt_inputs: bool = False,
        training: bool = True,
    ) -> tuple: ...
    def profile(
        self, xs: collections.abc.Sequence[numpy.ndarray], ys: list, weights: list
    ) -> dict: ...
    def reset_results(self) -> None: ...
    def reset_states(self, stateful_too: bool = True) -> None: ...
    def results(self) -> dict: ...
    def run(
        self,
        learning_rates: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
        max_batches: typing.SupportsInt | typing.SupportsIndex = -1,
        seconds: typing.SupportsFloat | typing.SupportsIndex = 0.05,
    ) -> int: ...
    def saved(self, node: typing.SupportsInt | typing.SupportsIndex) -> numpy.ndarray: ...
    def set_data(
        self,
        xs: collections.abc.Sequence[numpy.ndarray],
        ys: list,
        weights: list,
        largest: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex] = [],
    ) -> None: ...
    def set_gathered(
        self, state: dict, samples: typing.SupportsInt | typing.SupportsIndex = -1
    ) -> None: ...
    def set_states(
        self,
        states: collections.abc.Mapping[
            str, typing.Annotated[numpy.typing.ArrayLike, numpy.float32]
        ],
    ) -> None: ...
    def start_epoch(
        self,
        batch_size: typing.SupportsInt | typing.SupportsIndex,
        *,
        shuffle: bool = False,
        seed: typing.SupportsInt | typing.SupportsIndex = 0,
        epoch: typing.SupportsInt | typing.SupportsIndex = 0,
        first_batch: typing.SupportsInt | typing.SupportsIndex = 0,
        update: bool = True,
    ) -> None: ...
    def states(self) -> dict: ...
    def take_results(self, other: TrainerFloat32) -> None: ...
    def take_waiting(self, other: TrainerFloat32) -> None: ...
    def train_step(
        self,
        xs: collections.abc.Sequence[numpy.ndarray],
        ys: list,
        weights: list,
        learning_rate: typing.SupportsFloat | typing.SupportsIndex,
        update: bool = True,
        reset: bool = True,
        more: bool = False,
        largest: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex] = [],
    ) -> float: ...
    def value(self, node: typing.SupportsInt | typing.SupportsIndex) -> numpy.ndarray: ...
    @property
    def arena_bytes(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def deserted(self) -> bool: ...
    @property
    def n_batches(self) -> int: ...
    @property
    def pending(self) -> int: ...

class TrainerFloat64Handle:
    pass

class TrainerFloat64(TrainerFloat64Handle):
    def apply(
        self,
        gradients: list,
        learning_rate: typing.SupportsFloat | typing.SupportsIndex,
        then: typing.Any = None,
    ) -> typing.Any: ...
    def check_gathered(
        self, state: dict, samples: typing.SupportsInt | typing.SupportsIndex = -1
    ) -> None: ...
    def delta(self, node: typing.SupportsInt | typing.SupportsIndex) -> numpy.ndarray: ...
    def describe(self) -> str: ...
    def drop_data(self) -> None: ...
    def end_pass(self, learning_rate: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    def flush(self, learning_rate: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    def gathered(self) -> dict: ...
    def gathered_sizes(
        self, samples: typing.SupportsInt | typing.SupportsIndex = -1
    ) -> list[list[int]]: ...
    def gradients(
        self,
        xs: collections.abc.Sequence[numpy.ndarray],
        ys: list,
        weights: list,
        wrt_inputs: bool = False,
        training: bool = True,
    ) -> tuple: ...
    def profile(
        self, xs: collections.abc.Sequence[numpy.ndarray], ys: list, weights: list
    ) -> dict: ...
    def reset_results(self) -> None: ...
    def reset_states(self, stateful_too: bool = True) -> None: ...
    def results(self) -> dict: ...
    def run(
        self,
        learning_rates: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
        max_batches: typing.SupportsInt | typing.SupportsIndex = -1,
        seconds: typing.SupportsFloat | typing.SupportsIndex = 0.05,
    ) -> int: ...
    def saved(self, node: typing.SupportsInt | typing.SupportsIndex) -> numpy.ndarray: ...
    def set_data(
        self,
        xs: collections.abc.Sequence[numpy.ndarray],
        ys: list,
        weights: list,
        largest: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex] = [],
    ) -> None: ...
    def set_gathered(
        self, state: dict, samples: typing.SupportsInt | typing.SupportsIndex = -1
    ) -> None: ...
    def set_states(
        self,
        states: collections.abc.Mapping[
            str, typing.Annotated[numpy.typing.ArrayLike, numpy.float64]
        ],
    ) -> None: ...
    def start_epoch(
        self,
        batch_size: typing.SupportsInt | typing.SupportsIndex,
        *,
        shuffle: bool = False,
        seed: typing.SupportsInt | typing.SupportsIndex = 0,
        epoch: typing.SupportsInt | typing.SupportsIndex = 0,
        first_batch: typing.SupportsInt | typing.SupportsIndex = 0,
        update: bool = True,
    ) -> None: ...
    def states(self) -> dict: ...
    def take_results(self, other: TrainerFloat64) -> None: ...
    def take_waiting(self, other: TrainerFloat64) -> None: ...
    def train_step(
        self,
        xs: collections.abc.Sequence[numpy.ndarray],
        ys: list,
        weights: list,
        learning_rate: typing.SupportsFloat | typing.SupportsIndex,
        update: bool = True,
        reset: bool = True,
        more: bool = False,
        largest: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex] = [],
    ) -> float: ...
    def value(self, node: typing.SupportsInt | typing.SupportsIndex) -> numpy.ndarray: ...
    @property
    def arena_bytes(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def deserted(self) -> bool: ...
    @property
    def n_batches(self) -> int: ...
    @property
    def pending(self) -> int: ...

class StretchFloat32:
    def __init__(self, trainer: typing.Any) -> None: ...
    def backward(
        self, behind: StretchFloat32, losses: bool, penalties: bool, add: bool
    ) -> None: ...
    def forward(
        self,
        before: StretchFloat32,
        steps: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        counts: bool,
    ) -> None: ...
    def kept(self) -> numpy.typing.NDArray[numpy.float32]: ...
    def make_room(self, rows: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def set_kept(self, kept: typing.Annotated[numpy.typing.ArrayLike, numpy.float32]) -> None: ...
    def undo(self) -> None: ...
    @property
    def size(self) -> int: ...
    @property
    def trainer(self) -> typing.Any: ...

class StretchFloat64:
    def __init__(self, trainer: typing.Any) -> None: ...
    def backward(
        self, behind: StretchFloat64, losses: bool, penalties: bool, add: bool
    ) -> None: ...
    def forward(
        self,
        before: StretchFloat64,
        steps: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        counts: bool,
    ) -> None: ...
    def kept(self) -> numpy.typing.NDArray[numpy.float64]: ...
    def make_room(self, rows: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def set_kept(self, kept: typing.Annotated[numpy.typing.ArrayLike, numpy.float64]) -> None: ...
    def undo(self) -> None: ...
    @property
    def size(self) -> int: ...
    @property
    def trainer(self) -> typing.Any: ...

class StreamFloat32:
    def __init__(
        self, net: NetworkFloat32, rows: typing.SupportsInt | typing.SupportsIndex
    ) -> None: ...
    def names(self) -> list[str]: ...
    def reset(self, row: typing.SupportsInt | typing.SupportsIndex | None = None) -> None: ...
    def set_states(
        self,
        states: collections.abc.Sequence[typing.Annotated[numpy.typing.ArrayLike, numpy.float32]],
    ) -> None: ...
    def states(self) -> list: ...
    def step(self, x: numpy.ndarray) -> numpy.ndarray: ...
    @property
    def quick(self) -> typing.Any: ...
    @property
    def rows(self) -> int: ...

class StreamFloat64:
    def __init__(
        self, net: NetworkFloat64, rows: typing.SupportsInt | typing.SupportsIndex
    ) -> None: ...
    def names(self) -> list[str]: ...
    def reset(self, row: typing.SupportsInt | typing.SupportsIndex | None = None) -> None: ...
    def set_states(
        self,
        states: collections.abc.Sequence[typing.Annotated[numpy.typing.ArrayLike, numpy.float64]],
    ) -> None: ...
    def states(self) -> list: ...
    def step(self, x: numpy.ndarray) -> numpy.ndarray: ...
    @property
    def quick(self) -> typing.Any: ...
    @property
    def rows(self) -> int: ...

class PassesFloat32:
    def __init__(self, net: NetworkFloat32, draws: Counter) -> None: ...
    def backward(
        self, dys: collections.abc.Sequence[numpy.ndarray], grads: typing.Any, inputs: bool
    ) -> typing.Any: ...
    def forward(
        self, xs: collections.abc.Sequence[numpy.ndarray], training: bool, settled: bool = True
    ) -> list: ...
    def reset_states(self, stateful_too: bool = True) -> None: ...
    def set_states(
        self,
        states: collections.abc.Mapping[
            str, typing.Annotated[numpy.typing.ArrayLike, numpy.float32]
        ],
    ) -> None: ...
    def settle(self) -> None:
        """
        Of a forward that was not settled: it was a training batch.
        """
    def states(self) -> dict: ...
    @property
    def deserted(self) -> bool: ...
    @property
    def obstacle(self) -> str: ...
    @property
    def rows(self) -> int:
        """
        Of the pass that is kept.
        """

class PassesFloat64:
    def __init__(self, net: NetworkFloat64, draws: Counter) -> None: ...
    def backward(
        self, dys: collections.abc.Sequence[numpy.ndarray], grads: typing.Any, inputs: bool
    ) -> typing.Any: ...
    def forward(
        self, xs: collections.abc.Sequence[numpy.ndarray], training: bool, settled: bool = True
    ) -> list: ...
    def reset_states(self, stateful_too: bool = True) -> None: ...
    def set_states(
        self,
        states: collections.abc.Mapping[
            str, typing.Annotated[numpy.typing.ArrayLike, numpy.float64]
        ],
    ) -> None: ...
    def settle(self) -> None:
        """
        Of a forward that was not settled: it was a training batch.
        """
    def states(self) -> dict: ...
    @property
    def deserted(self) -> bool: ...
    @property
    def obstacle(self) -> str: ...
    @property
    def rows(self) -> int:
        """
        Of the pass that is kept.
        """

class PlainParts:
    def __init__(
        self,
        dtype: str,
        wanted: collections.abc.Sequence[
            tuple[
                collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
                typing.SupportsInt | typing.SupportsIndex,
                typing.SupportsFloat | typing.SupportsIndex,
                typing.SupportsFloat | typing.SupportsIndex,
            ]
        ],
        weights: collections.abc.Sequence[numpy.ndarray],
    ) -> None: ...
    def read(
        self, value: typing.Any, n: typing.SupportsInt | typing.SupportsIndex = -1
    ) -> typing.Any: ...
    def read_with(
        self, value: typing.Any, targets: PlainParts, labels: list, y: typing.Any
    ) -> typing.Any: ...

class Solver:
    def __init__(
        self,
        trainer: typing.Any,
        kind: str,
        options: collections.abc.Mapping[str, typing.SupportsFloat | typing.SupportsIndex],
        offsets: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    ) -> None: ...
    def run(
        self,
        most: typing.SupportsInt | typing.SupportsIndex,
        seconds: typing.SupportsFloat | typing.SupportsIndex,
    ) -> tuple: ...
    def set_state(
        self,
        state: collections.abc.Mapping[
            str, collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex]
        ],
    ) -> None: ...
    def state(self) -> dict: ...

class Factors:
    def __init__(self) -> None: ...
    def set_state(
        self,
        state: collections.abc.Mapping[
            str, typing.Annotated[numpy.typing.ArrayLike, numpy.float64]
        ],
    ) -> None: ...
    def state(self) -> dict: ...

def Network(
    dtype: str,
    nodes: list,
    outputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    params: collections.abc.Sequence[numpy.ndarray],
    param_names: collections.abc.Sequence[str],
    trainable: collections.abc.Sequence[bool],
    compute: str = "",
    shifts: collections.abc.Sequence[
        tuple[
            typing.SupportsInt | typing.SupportsIndex,
            typing.SupportsInt | typing.SupportsIndex,
            typing.SupportsInt | typing.SupportsIndex,
            numpy.ndarray,
        ]
    ] = [],
    changes: collections.abc.Sequence[Counter] = [],
    backs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] = [],
) -> typing.Any: ...
def Trainer(
    net: typing.Any,
    losses: list,
    loss_weights: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex],
    metrics: list,
    optimizer: typing.Any,
    slots: collections.abc.Sequence[collections.abc.Sequence[numpy.ndarray]],
    *,
    clip_norm: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    clip_value: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    accumulate_steps: typing.SupportsInt | typing.SupportsIndex = 1,
    fuse: bool = True,
    parameters: dict = {},
    steps: Counter | None = None,
    draws: Counter | None = None,
) -> typing.Any: ...
@typing.overload
def activation(
    name: str,
    x: numpy.typing.NDArray[numpy.float32],
    alpha: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> numpy.ndarray: ...
@typing.overload
def activation(
    name: str,
    x: numpy.typing.NDArray[numpy.float64],
    alpha: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> numpy.ndarray: ...
@typing.overload
def activation_grad(
    name: str,
    x: numpy.typing.NDArray[numpy.float32],
    dy: numpy.typing.NDArray[numpy.float32],
    alpha: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> numpy.ndarray: ...
@typing.overload
def activation_grad(
    name: str,
    x: numpy.typing.NDArray[numpy.float64],
    dy: numpy.typing.NDArray[numpy.float64],
    alpha: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> numpy.ndarray: ...
def activation_names() -> list[str]: ...
def assign_all(held: list, sources: collections.abc.Sequence) -> bool: ...
def available_cpus() -> int: ...
def blend(held: list, sources: list, tau: typing.SupportsFloat | typing.SupportsIndex) -> bool: ...
def change_teams(seed: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    Other teams at every batch, for tests; 0: an end of it.
    """

def config() -> dict: ...
def empty(
    shape: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], dtype: typing.Any
) -> numpy.ndarray: ...
def exact_threads() -> bool: ...
def fill_all(targets: list, sources: typing.Any) -> bool: ...
def fma_peak(
    dtype: str = "float32",
    threads: typing.SupportsInt | typing.SupportsIndex = 1,
    seconds: typing.SupportsFloat | typing.SupportsIndex = 0.1,
) -> float: ...
@typing.overload
def gauss_newton_vector(
    trainer: TrainerFloat32Handle,
    offsets: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    v: numpy.ndarray,
    expected: bool,
) -> numpy.ndarray: ...
@typing.overload
def gauss_newton_vector(
    trainer: TrainerFloat64Handle,
    offsets: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    v: numpy.ndarray,
    expected: bool,
) -> numpy.ndarray: ...
def get_num_threads() -> int: ...
def has_fma() -> bool: ...
@typing.overload
def hessian_vector(
    trainer: TrainerFloat32Handle,
    offsets: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    v: numpy.ndarray,
) -> numpy.ndarray: ...
@typing.overload
def hessian_vector(
    trainer: TrainerFloat64Handle,
    offsets: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    v: numpy.ndarray,
) -> numpy.ndarray: ...
def hold(arrays: list) -> list: ...
@typing.overload
def input_jacobian(net: NetworkFloat32, xs: collections.abc.Sequence[numpy.ndarray]) -> list: ...
@typing.overload
def input_jacobian(net: NetworkFloat64, xs: collections.abc.Sequence[numpy.ndarray]) -> list: ...
@typing.overload
def jacobian(
    net: NetworkFloat32,
    xs: collections.abc.Sequence[numpy.ndarray],
    offsets: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
) -> list: ...
@typing.overload
def jacobian(
    net: NetworkFloat64,
    xs: collections.abc.Sequence[numpy.ndarray],
    offsets: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
) -> list: ...
def loss_names() -> list[str]: ...
@typing.overload
def math(name: str, x: numpy.typing.NDArray[numpy.float32]) -> numpy.ndarray: ...
@typing.overload
def math(name: str, x: numpy.typing.NDArray[numpy.float64]) -> numpy.ndarray: ...
@typing.overload
def matmul(
    a: numpy.typing.NDArray[numpy.float32],
    b: numpy.typing.NDArray[numpy.float32],
    transpose_a: bool = False,
    transpose_b: bool = False,
    bias: typing.Any = None,
    chunk: typing.SupportsInt | typing.SupportsIndex = 0,
    compute: str = "",
    threads: typing.SupportsInt | typing.SupportsIndex = 1,
    out: typing.Any = None,
    goes_on: bool = False,
) -> numpy.ndarray: ...
@typing.overload
def matmul(
    a: numpy.typing.NDArray[numpy.float64],
    b: numpy.typing.NDArray[numpy.float64],
    transpose_a: bool = False,
    transpose_b: bool = False,
    bias: typing.Any = None,
    chunk: typing.SupportsInt | typing.SupportsIndex = 0,
    compute: str = "",
    threads: typing.SupportsInt | typing.SupportsIndex = 1,
    out: typing.Any = None,
    goes_on: bool = False,
) -> numpy.ndarray: ...
def normal(
    seed: typing.SupportsInt | typing.SupportsIndex,
    stream: typing.SupportsInt | typing.SupportsIndex,
    n: typing.SupportsInt | typing.SupportsIndex,
    first: typing.SupportsInt | typing.SupportsIndex = 0,
) -> numpy.ndarray: ...
def optimizer_names() -> list[str]: ...
def permutation(
    seed: typing.SupportsInt | typing.SupportsIndex,
    stream: typing.SupportsInt | typing.SupportsIndex,
    n: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.int64]: ...
def philox(
    seed: typing.SupportsInt | typing.SupportsIndex,
    stream: typing.SupportsInt | typing.SupportsIndex,
    counter: typing.SupportsInt | typing.SupportsIndex,
) -> tuple[int, int, int, int]: ...
def quota_cpus(root: str = "") -> float: ...
@typing.overload
def rehearse(
    network: NetworkFloat32,
    xs: collections.abc.Sequence[typing.Annotated[numpy.typing.ArrayLike, numpy.float32]],
    dys: collections.abc.Sequence[typing.Annotated[numpy.typing.ArrayLike, numpy.float32]],
    block: typing.SupportsInt | typing.SupportsIndex = 0,
    piece: typing.SupportsInt | typing.SupportsIndex = 0,
    shift: typing.SupportsInt | typing.SupportsIndex = 0,
    pattern: typing.SupportsInt | typing.SupportsIndex = 0,
    add: bool = False,
    w_back: collections.abc.Sequence[typing.Annotated[numpy.typing.ArrayLike, numpy.float32]] = [],
) -> tuple: ...
@typing.overload
def rehearse(
    network: NetworkFloat64,
    xs: collections.abc.Sequence[typing.Annotated[numpy.typing.ArrayLike, numpy.float64]],
    dys: collections.abc.Sequence[typing.Annotated[numpy.typing.ArrayLike, numpy.float64]],
    block: typing.SupportsInt | typing.SupportsIndex = 0,
    piece: typing.SupportsInt | typing.SupportsIndex = 0,
    shift: typing.SupportsInt | typing.SupportsIndex = 0,
    pattern: typing.SupportsInt | typing.SupportsIndex = 0,
    add: bool = False,
    w_back: collections.abc.Sequence[typing.Annotated[numpy.typing.ArrayLike, numpy.float64]] = [],
) -> tuple: ...
def round_all_products(all: bool) -> None:
    """
    Of operations made from now on, whether that pays or not, where compute is bfloat16; for tests.
    """

@typing.overload
def sample_gradients(
    trainer: TrainerFloat32Handle,
    offsets: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
) -> numpy.ndarray: ...
@typing.overload
def sample_gradients(
    trainer: TrainerFloat64Handle,
    offsets: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
) -> numpy.ndarray: ...
def scan(array: numpy.ndarray, dtype: str) -> typing.Any: ...
def select_bfloat16(name: str, tiles: str = "") -> None:
    """
    tiles: for tests, what the CPU seems to have.
    """

def select_tier(name: str) -> str: ...
def set_num_threads(n: typing.SupportsInt | typing.SupportsIndex, exact: bool = False) -> None: ...
def set_patience(scale: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
def slot_count(optimizer: dict) -> int: ...
def slot_initial_value(
    optimizer: dict, slot: typing.SupportsInt | typing.SupportsIndex
) -> float: ...
def slot_lowest(optimizer: dict, slot: typing.SupportsInt | typing.SupportsIndex) -> float: ...
def slot_name(optimizer: dict, slot: typing.SupportsInt | typing.SupportsIndex) -> str: ...
def threads_in_use() -> str:
    """
    What the work that last chose its number of threads says of it.
    """

def uniform(
    seed: typing.SupportsInt | typing.SupportsIndex,
    stream: typing.SupportsInt | typing.SupportsIndex,
    n: typing.SupportsInt | typing.SupportsIndex,
    first: typing.SupportsInt | typing.SupportsIndex = 0,
) -> numpy.typing.NDArray[numpy.float64]: ...
def use_caches(
    l1: typing.SupportsInt | typing.SupportsIndex = 0,
    l2: typing.SupportsInt | typing.SupportsIndex = 0,
) -> None:
    """
    Bytes of a core's data caches, for tests; 0: what the CPU says.
    """
