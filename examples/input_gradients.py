"""Gradients with respect to the data: what the net calls a 3, and digits that deceive it."""

import sys

import numpy as np

import bpcore as bp

L = bp.layers


def classifier(x, y, epochs):
    model = bp.Sequential([L.Dense(64, "relu"), L.Dense(64, "relu"), L.Dense(10)], seed=0)
    model.compile(bp.optimizers.Adam(1e-3), loss="cross_entropy", metrics=["accuracy"])
    model.fit(x, y, epochs=epochs, verbose=0)
    return model


def ascend(model, digit, start, steps=200, rate=0.05):
    """Walk up the log-probability of a class, pixels held in [0, 1].

    The loss of the label `digit` is -log p(digit), so against its gradient p(digit) grows. A pull
    to 0 leaves dark what the class does not need.
    """
    image = start.copy()
    for _ in range(steps):
        slope = model.gradients(image, [digit], wrt_inputs=True).inputs + 0.002 * image
        image = np.clip(image - rate * slope / (np.abs(slope).max() + 1e-12), 0.0, 1.0)
    return image


def softmax(logits):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def show(image):
    for row in image.reshape(8, 8):
        print("   ", "".join(" .:-=+*#%@"[int(9.99 * v)] * 2 for v in row))


def deceive(model, x, y, epsilon):
    """FGSM: one step of epsilon in the sign of dL/dx (I. Goodfellow et al., 2015)."""
    slope = model.gradients(x, y, wrt_inputs=True).inputs
    return np.clip(x + epsilon * np.sign(slope), 0.0, 1.0)


def harden(model, x, y, epsilon, epochs):
    """Go on with training on batches half of which are made to deceive the net of the moment."""
    for _ in range(epochs):
        false = deceive(model, x, y, epsilon)
        model.fit(np.concatenate([x, false]), np.concatenate([y, y]), verbose=0)


def accuracies(model, x, y, epsilons):
    return [model.evaluate(deceive(model, x, y, e), y)["accuracy"] for e in epsilons]


def main(quick):
    (x, y), (xt, yt) = bp.datasets.load_digits(split=True)
    model = classifier(x, y, epochs=15 if quick else 40)
    clean = model.evaluate(xt, yt)["accuracy"]

    grey = np.full((1, 64), 0.3, "float32")
    print(
        f"a grey square is a 3 with probability {softmax(model.predict(grey))[0, 3]:.4f}; ", end=""
    )
    three = ascend(model, 3, grey)
    surely = softmax(model.predict(three))[0, 3]
    nearest = y[np.linalg.norm(x - three, axis=1).argsort()[:10]]
    print(f"after 200 steps up, {surely:.4f}:")
    show(three[0])
    print(f"  of the 10 training digits nearest to it, {(nearest == 3).sum()} are a 3")
    assert surely > 0.99

    epsilons = [0.02, 0.05, 0.1, 0.15, 0.2]
    false = accuracies(model, xt, yt, epsilons)
    rng = np.random.default_rng(0)
    chance = [xt + e * rng.choice([-1.0, 1.0], size=xt.shape) for e in epsilons]
    by_chance = [model.evaluate(np.clip(a, 0.0, 1.0), yt)["accuracy"] for a in chance]
    harden(model, x, y, epsilon=0.1, epochs=5 if quick else 30)
    hardened = accuracies(model, xt, yt, epsilons)
    print("every pixel moved by epsilon     by chance   by FGSM   by FGSM, after training on such")
    print(f"  0.00  {clean:26.1%}  {clean:8.1%}  {model.evaluate(xt, yt)['accuracy']:8.1%}")
    for e, a, b, c in zip(epsilons, by_chance, false, hardened, strict=True):
        print(f"  {e:.2f}  {a:26.1%}  {b:8.1%}  {c:8.1%}")
    assert clean > 0.95 and by_chance[2] > clean - 0.05
    assert false[2] < 0.7 < false[0]  # a direction, not a size, deceives
    assert hardened[2] > false[2] + 0.1


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
