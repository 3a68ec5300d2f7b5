"""One class per library, all doing the same training: equal weights, batches, loss, optimizer.

Softmax cross-entropy on integer labels, float32. losses(k): the first k batches in order, from the
starting weights. epochs(n): all rows n times, shuffled anew, with whatever is fastest in that
library.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
import warnings

import numpy as np
from tests.reference import mlp

from .networks import Network


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


class Rival:
    name = ""
    module = ""

    def __init__(self, network: Network, x, labels, kernels, biases):
        self.network, self.x, self.labels = network, x, labels
        self.kernels = [k.copy() for k in kernels]
        self.biases = [b.copy() for b in biases]
        self.steps = len(x) // network.batch
        self.build()

    @classmethod
    def available(cls) -> bool:
        return _installed(cls.module)

    def batch(self, i: int):
        rows = slice(i * self.network.batch, (i + 1) * self.network.batch)
        return self.x[rows], self.labels[rows]

    def build(self) -> None:
        raise NotImplementedError

    def losses(self, k: int) -> list[float]:
        raise NotImplementedError

    def epoch(self) -> None:
        raise NotImplementedError

    def epochs(self, n: int) -> None:
        for _ in range(n):
            self.epoch()


class Bpcore(Rival):
    name, module = "bpcore", "bpcore"
    compute: str | None = None

    def build(self):
        import bpcore as bp

        units = self.network.sizes[1:]
        layers = [bp.layers.Dense(u, activation=self.network.activation) for u in units[:-1]]
        self.model = bp.Sequential(
            [*layers, bp.layers.Dense(units[-1])], seed=0, compute=self.compute
        )
        self.model.build((self.network.sizes[0],))
        pairs = zip(self.kernels, self.biases, strict=True)
        self.model.set_weights([a for pair in pairs for a in pair])
        optimizer = getattr(bp.optimizers, self.network.optimizer)(self.network.learning_rate)
        self.model.compile(optimizer=optimizer, loss="cross_entropy")

    def losses(self, k):
        return [self.model.train_on_batch(*self.batch(i))["loss"] for i in range(k)]

    def epoch(self):
        self.epochs(1)

    def epochs(self, n):
        self.model.fit(self.x, self.labels, batch_size=self.network.batch, epochs=n, verbose=0)


class BpcoreBfloat16(Bpcore):
    name, compute = "bpcore bfloat16", "bfloat16"

    def rounding(self) -> str:
        """The instruction of the products in bfloat16; empty where none of them is."""
        words = self.model._built().net.describe()
        return next((name for name in ("amx_bf16", "avx512_bf16") if name in words), "")


class NumPy(Rival):
    name, module = "NumPy", "numpy"

    def build(self):
        optimizer = getattr(mlp, self.network.optimizer)(self.network.learning_rate)
        self.model = mlp.MLP(self.kernels, self.biases, self.network.activation, optimizer)
        self.seed = 0

    def losses(self, k):
        return [self.model.train_on_batch(*self.batch(i)) for i in range(k)]

    def epoch(self):
        self.seed += 1
        self.model.fit(self.x, self.labels, self.network.batch, seed=self.seed)


class ScikitLearn(Rival):
    name, module = "scikit-learn", "sklearn"

    def build(self):
        from sklearn.neural_network import MLPClassifier

        network, classes = self.network, np.arange(self.network.sizes[-1])
        self.model = MLPClassifier(
            hidden_layer_sizes=network.sizes[1:-1],
            activation={"sigmoid": "logistic"}.get(network.activation, network.activation),
            solver=network.optimizer.lower(), alpha=0.0, batch_size=network.batch,
            learning_rate_init=network.learning_rate, momentum=0.0, nesterovs_momentum=False,
            random_state=0, n_iter_no_change=10**9,
        )  # fmt: skip
        self.model.partial_fit(*self.batch(0), classes=classes)
        kernels, biases = self.kernels, self.biases
        if len(classes) == 2:  # it has one sigmoid output: the logits' difference
            kernels = [*kernels[:-1], kernels[-1][:, 1:] - kernels[-1][:, :1]]
            biases = [*biases[:-1], biases[-1][1:] - biases[-1][:1]]
        self.model.coefs_, self.model.intercepts_ = list(kernels), list(biases)
        del self.model._optimizer  # or it would go on training the weights it was made with

    def losses(self, k):
        k = 1 if self.network.sizes[-1] == 2 else k  # after a step one output is another model
        found = []
        for i in range(k):
            self.model.partial_fit(*self.batch(i))
            found.append(self.model.loss_)
        return found

    def epoch(self):
        self.model.partial_fit(self.x, self.labels)


class PyTorch(Rival):
    name, module = "PyTorch eager", "torch"

    def build(self):
        import torch

        self.torch = torch
        f = {"sigmoid": torch.nn.Sigmoid, "tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}
        layers = []
        for k, b in zip(self.kernels, self.biases, strict=True):
            layer = torch.nn.Linear(*k.shape)
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(k.T))
                layer.bias.copy_(torch.from_numpy(b))
            layers += [layer, f[self.network.activation]()]
        self.model = torch.nn.Sequential(*layers[:-1])
        optimizer = getattr(torch.optim, self.network.optimizer)
        self.optimizer = optimizer(self.model.parameters(), lr=self.network.learning_rate)
        self.tx, self.ty = torch.from_numpy(self.x), torch.from_numpy(self.labels).long()
        self.loss = self.forward_loss

    def forward_loss(self, x, y):
        return self.torch.nn.functional.cross_entropy(self.model(x), y)

    def step(self, x, y):
        self.optimizer.zero_grad()
        loss = self.loss(x, y)
        loss.backward()
        self.optimizer.step()
        return loss

    def losses(self, k):
        b = self.network.batch
        return [
            self.step(self.tx[i * b : (i + 1) * b], self.ty[i * b : (i + 1) * b]).item()
            for i in range(k)
        ]

    def epoch(self):
        for rows in self.torch.randperm(len(self.tx)).split(self.network.batch):
            self.step(self.tx[rows], self.ty[rows])


class PyTorchBfloat16(PyTorch):
    name = "PyTorch bfloat16"

    def forward_loss(self, x, y):
        with self.torch.autocast("cpu", dtype=self.torch.bfloat16):
            return super().forward_loss(x, y)


class PyTorchCompiled(PyTorch):
    name = "PyTorch compiled"

    @classmethod
    @functools.cache
    def available(cls) -> bool:
        """torch.compile needs a C++ compiler at run time."""
        if not super().available():
            return False
        import torch

        try:
            torch.compile(lambda x: x + 1)(torch.zeros(4))
        except Exception as error:
            reason = str(error).partition("\n")[0]
            print(f"{cls.name} is left out: {reason}", file=sys.stderr)
            return False
        return True

    def build(self):
        super().build()
        self.loss = self.torch.compile(self.forward_loss)


class Jax(Rival):
    name, module = "JAX scan", "jax"

    def build(self):
        import jax
        import jax.numpy as jnp

        network, rate = self.network, self.network.learning_rate
        f = {"sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "relu": jax.nn.relu}[network.activation]

        def loss_of(weights, x, y):
            for w, b in weights[:-1]:
                x = f(x @ w + b)
            z = x @ weights[-1][0] + weights[-1][1]
            return -jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], axis=1).mean()

        def sgd(weights, state, gradients):
            return jax.tree.map(lambda w, g: w - rate * g, weights, gradients), state

        def adam(weights, state, gradients):
            step, m, v = state[0] + 1, state[1], state[2]
            m = jax.tree.map(lambda a, g: 0.9 * a + 0.1 * g, m, gradients)
            v = jax.tree.map(lambda a, g: 0.999 * a + 0.001 * g * g, v, gradients)
            c1, c2 = 1 - 0.9**step, 1 - 0.999**step
            weights = jax.tree.map(
                lambda w, a, b: w - rate * (a / c1) / (jnp.sqrt(b / c2) + 1e-8), weights, m, v
            )
            return weights, (step, m, v)

        update = adam if network.optimizer == "Adam" else sgd

        def step(carry, rows):
            weights, state = carry
            value, gradients = jax.value_and_grad(loss_of)(weights, self.jx[rows], self.jy[rows])
            return update(weights, state, gradients), value

        self.jx, self.jy = jnp.asarray(self.x), jnp.asarray(self.labels)
        weights = [(jnp.asarray(k), jnp.asarray(b)) for k, b in zip(self.kernels, self.biases,
                                                                    strict=True)]  # fmt: skip
        zeros = jax.tree.map(jnp.zeros_like, weights)
        self.carry = (weights, (jnp.float32(0), zeros, zeros))
        self.scan = jax.jit(lambda carry, order: jax.lax.scan(step, carry, order))
        self.permute = jax.jit(lambda key: jax.random.permutation(key, len(self.x)))
        self.jax, self.seed = jax, 0

    def losses(self, k):
        order = np.arange(k * self.network.batch).reshape(k, -1)
        self.carry, values = self.scan(self.carry, order)
        return [float(v) for v in values]

    def epoch(self):
        self.seed += 1
        order = self.permute(self.jax.random.PRNGKey(self.seed))
        order = order.reshape(self.steps, self.network.batch)
        self.carry, values = self.scan(self.carry, order)
        values.block_until_ready()


def rivals(compiled: bool = False) -> list[type[Rival]]:
    warnings.filterwarnings("ignore", module="sklearn")  # "has not converged": it must not
    candidates = [Bpcore, NumPy, ScikitLearn, PyTorch, Jax]
    if compiled:
        candidates.insert(4, PyTorchCompiled)
    return [c for c in candidates if c.available()]
