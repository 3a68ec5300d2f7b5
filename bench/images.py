"""Convolutional networks against PyTorch and ONNX Runtime: python -m bench.images [--threads N].

A step of training, Adam, float32: LeNet-5 on 28 x 28 images; a residual network of three stages of
16, 32 and 64 channels on 32 x 32 images; a network of depthwise and pointwise convolutions. Then
the forward pass of one image through LeNet-5, where ONNX Runtime is installed.
Answers are compared first: both begin with the same weights, and the losses of the first steps have
to agree. The two take turns.
"""

from __future__ import annotations

import sys

import numpy as np

import bpcore as bp

from .timing import alternate, repeated

L = bp.layers
STEPS = 4  # of a fit, whose start and end are part of the time


class Lenet:
    """LeNet-5 with relu and max pooling, 6-16-120-84."""

    name, shape = "LeNet-5", (28, 28, 1)
    cases = ((64, 5.0), (256, 4.0))

    def ours(self, seed=0):
        return bp.Sequential([
            bp.Input(self.shape),
            L.Conv2D(6, 5, padding=2, activation="relu"), L.MaxPooling2D(),
            L.Conv2D(16, 5, activation="relu"), L.MaxPooling2D(), L.Flatten(),
            L.Dense(120, "relu"), L.Dense(84, "relu"), L.Dense(10),
        ], seed=seed)  # fmt: skip

    def theirs(self):
        from torch import nn

        return nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), _Flatten(),
            nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
        )  # fmt: skip


class Residual:
    """Three stages of one residual block, 16-32-64 channels, batch normalization."""

    name, shape = "residual 16-32-64", (32, 32, 3)
    cases = ((64, 1.3),)
    stages = ((16, 1), (32, 2), (64, 2))

    def ours(self):
        def normalized(h, filters, size, strides):
            h = L.Conv2D(filters, size, strides, padding=size // 2, use_bias=False)(h)
            return L.BatchNormalization(momentum=0.9, epsilon=1e-5)(h)

        image = bp.Input(self.shape)
        h = L.Activation("relu")(normalized(image, 16, 3, 1))
        for filters, strides in self.stages:
            y = L.Activation("relu")(normalized(h, filters, 3, strides))
            y = normalized(y, filters, 3, 1)
            h = normalized(h, filters, 1, strides) if strides > 1 else h
            h = L.Activation("relu")(L.Add()([y, h]))
        return bp.Model(image, L.Dense(10)(L.GlobalAveragePooling2D()(h)), seed=0)

    def theirs(self):
        from torch import nn

        class Block(nn.Module):
            def __init__(self, before, filters, strides):
                super().__init__()
                self.a = nn.Conv2d(before, filters, 3, strides, 1, bias=False)
                self.a_norm = nn.BatchNorm2d(filters)
                self.b = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
                self.b_norm = nn.BatchNorm2d(filters)
                self.short = self.short_norm = None
                if strides > 1:
                    self.short = nn.Conv2d(before, filters, 1, strides, bias=False)
                    self.short_norm = nn.BatchNorm2d(filters)

            def forward(self, x):
                y = self.b_norm(self.b(self.a_norm(self.a(x)).relu()))
                x = x if self.short is None else self.short_norm(self.short(x))
                return (x + y).relu()

        layers, before = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()], 16
        for filters, strides in self.stages:
            layers.append(Block(before, filters, strides))
            before = filters
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


class Separable:
    """Depthwise 3 x 3 and pointwise convolutions, 16 to 128 channels."""

    name, shape = "depthwise-separable", (32, 32, 3)
    cases = ((64, 3.0),)
    stages = ((32, 1), (64, 2), (128, 2))

    def ours(self):
        layers = [L.Conv2D(16, 3, 1, padding=1, activation="relu")]
        for filters, strides in self.stages:
            layers += [L.DepthwiseConv2D(3, strides, padding=1, activation="relu"),
                       L.Conv2D(filters, 1, activation="relu")]  # fmt: skip
        return bp.Sequential(
            [bp.Input(self.shape), *layers, L.GlobalAveragePooling2D(), L.Dense(10)], seed=0
        )

    def theirs(self):
        from torch import nn

        layers, before = [nn.Conv2d(3, 16, 3, 1, 1), nn.ReLU()], 16
        for filters, strides in self.stages:
            layers += [nn.Conv2d(before, before, 3, strides, 1, groups=before), nn.ReLU(),
                       nn.Conv2d(before, filters, 1), nn.ReLU()]  # fmt: skip
            before = filters
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


def _Flatten():
    """Rows, columns, channels, as bpcore's images lie."""
    from torch import nn

    class Flatten(nn.Module):
        def forward(self, x):
            return x.permute(0, 2, 3, 1).flatten(1)

    return Flatten()


def give_weights(model, net):
    """The weights of `model` to the PyTorch network of the same layers in the same order."""
    import torch

    layers = [layer for layer in model.layers if layer.weights]
    modules = [m for m in net.modules() if list(m.parameters(recurse=False))]
    with torch.no_grad():
        for layer, module in zip(layers, modules, strict=True):
            if isinstance(layer, L.BatchNormalization):
                continue  # begins alike in both
            w = layer.kernel.value
            if isinstance(layer, L.DepthwiseConv2D):
                w = w.transpose(2, 3, 0, 1).reshape(-1, 1, *w.shape[:2])
            elif w.ndim == 4:
                w = w.transpose(3, 2, 0, 1)
            else:
                w = w.T
            module.weight.copy_(torch.tensor(np.ascontiguousarray(w)))
            if layer.bias is not None:
                module.bias.copy_(torch.tensor(layer.bias.value))


def training(case, batch, goal, rounds=15):
    import torch

    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, *case.shape)).astype(np.float32)
    y = rng.integers(0, 10, batch)
    model, net = case.ours(), case.theirs()
    give_weights(model, net)
    model.compile(bp.optimizers.Adam(1e-3), "cross_entropy")
    optimizer = torch.optim.Adam(net.parameters(), 1e-3, eps=1e-7)
    tx, ty = torch.tensor(x.transpose(0, 3, 1, 2).copy()), torch.tensor(y)

    def step(tx=tx):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(tx), ty)
        loss.backward()
        optimizer.step()
        return loss

    for _ in range(3):
        a, b = model.train_on_batch(x, y)["loss"], step().item()
        assert abs(a - b) < 2e-3 * abs(b), f"{case.name}: losses {a} and {b}"
    many, many_y = np.tile(x, (STEPS, 1, 1, 1)), np.tile(y, STEPS)
    last = tx.contiguous(memory_format=torch.channels_last)
    mine, mine_n = repeated(
        lambda: model.fit(many, many_y, batch_size=batch, verbose=0, shuffle=False), 0.1
    )
    first, first_n = repeated(step, 0.1)
    second, second_n = repeated(lambda: step(last), 0.1)
    found = alternate({"mine": mine, "first": first, "last": second}, rounds)
    ours = found["mine"]["median"] / mine_n / STEPS
    rivals = {
        "first": found["first"]["median"] / first_n,
        "last": found["last"]["median"] / second_n,
    }
    which = min(rivals, key=rivals.get)
    print(f"{case.name} batch {batch}: {ours * 1e3:.3f} ms a step, PyTorch "
          f"(channels_{which}) {rivals[which] * 1e3:.3f} ms: {rivals[which] / ours:.2f} "
          f"(goal {goal})", flush=True)  # fmt: skip


def onnx_lenet(net):
    """The PyTorch LeNet-5 as an ONNX model, written by hand: torch's own exporter needs more."""
    import onnx
    from onnx import helper, numpy_helper

    nodes, weights, value = [], [], "x"

    def add(op, **attributes):
        nonlocal value
        inputs, value = [value], f"v{len(nodes)}"
        for name in attributes.pop("weights", ()):
            inputs.append(name)
        nodes.append(helper.make_node(op, inputs, [value], **attributes))

    for i, module in enumerate(net):
        kind, names = type(module).__name__, []
        for name, w in module.named_parameters():
            names.append(f"{name}{i}")
            weights.append(numpy_helper.from_array(w.detach().numpy(), names[-1]))
        if kind == "Conv2d":
            add("Conv", weights=names, pads=list(module.padding) * 2)
        elif kind == "ReLU":
            add("Relu")
        elif kind == "MaxPool2d":
            add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
        elif kind == "Flatten":
            add("Transpose", perm=[0, 2, 3, 1])
            add("Flatten")
        else:
            add("Gemm", weights=names, transB=1)
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
            for name, shape in (("x", [1, 1, 28, 28]), (value, [1, 10])))  # fmt: skip
    graph = helper.make_graph(nodes, "lenet", [x], [y], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 9
    return made.SerializeToString()


def one_image(goal=3.0, rounds=15):
    """The forward pass of one image, NumPy in and NumPy out, on one thread."""
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError:
        return print("forward of one image: onnx and onnxruntime are not installed")
    case = Lenet()
    model, net = case.ours(), case.theirs()
    give_weights(model, net)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        onnx_lenet(net), options, providers=["CPUExecutionProvider"]
    )
    x = np.random.default_rng(0).normal(size=(1, *case.shape)).astype(np.float32)
    first = {"x": x.reshape(1, 1, 28, 28)}
    np.testing.assert_allclose(model(x), session.run(None, first)[0], rtol=1e-4, atol=1e-5)
    mine, mine_n = repeated(lambda: model(x))
    rival, rival_n = repeated(lambda: session.run(None, first))
    found = alternate({"mine": mine, "rival": rival}, rounds)
    ours, theirs = found["mine"]["median"] / mine_n, found["rival"]["median"] / rival_n
    print(f"{case.name} forward of one image: {ours * 1e6:.1f} us, ONNX Runtime "
          f"{theirs * 1e6:.1f} us: {theirs / ours:.2f} (goal {goal})", flush=True)  # fmt: skip


if __name__ == "__main__":
    count = int(sys.argv[sys.argv.index("--threads") + 1]) if "--threads" in sys.argv else 2
    try:
        import torch
    except ImportError:
        sys.exit("PyTorch is not installed")
    bp.set_num_threads(count)
    torch.set_num_threads(count)
    for kind in (Lenet, Residual, Separable):
        for size, aim in kind.cases:
            training(kind(), size, aim)
    one_image()
