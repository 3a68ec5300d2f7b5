"""Autoencoders without labels: one removes noise, with tied weights; one fills in hidden pixels."""

import sys

import numpy as np

import bpcore as bp

L = bp.layers


class Pca:
    """The best linear code of `size` numbers, and how far the rest strays."""

    def __init__(self, x, size):
        self.mean = x.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov((x - self.mean).T))
        self.all = vectors[:, ::-1]
        self.basis, self.variance = self.all[:, :size], values[::-1][:size]
        self.rest = max(values[::-1][size:].mean(), 1e-6)

    def project(self, x, size=None):
        basis = self.basis if size is None else self.all[:, :size]
        return self.mean + (x - self.mean) @ basis @ basis.T

    def fill(self, x, seen):
        """The expected image where only some pixels are seen (probabilistic PCA)."""
        out = np.empty_like(x)
        for i, (row, mask) in enumerate(zip(x - self.mean, seen, strict=True)):
            w = self.basis[mask]
            a = w.T @ w / self.rest + np.diag(1.0 / self.variance)
            out[i] = self.mean + self.basis @ np.linalg.solve(a, w.T @ row[mask] / self.rest)
        return out


def error(made, x, where=None):
    """Mean squared error per pixel, over all of them or some."""
    square = (np.clip(made, 0.0, 1.0) - x) ** 2
    return float(square.mean() if where is None else square[where].mean())


def train(model, x, epochs):
    steps = epochs * -(-len(x) // 32)
    rate = bp.schedules.Cosine(3e-3, decay_steps=steps)
    model.compile(bp.optimizers.Adam(rate), loss="mean_squared_error")
    model.fit(x, x, batch_size=32, epochs=epochs, verbose=0)


def denoise(x, xt, noise, size, epochs):
    """Noise is added in training alone, new at each batch; the decoder is the encoder turned."""
    code = L.Dense(size, "gelu", name="code")
    hidden = L.Dense(256, "gelu", name="hidden")
    model = bp.Sequential(
        [
            bp.Input((64,)),
            L.GaussianNoise(noise),
            hidden,
            code,
            L.TiedDense(code, "gelu"),
            L.TiedDense(hidden, "sigmoid"),
        ],
        seed=0,
    )
    train(model, x, epochs)
    noisy = xt + noise * np.random.default_rng(0).normal(size=xt.shape)
    encoder = bp.Model(model.inputs, code.output)
    assert encoder.predict(noisy).shape == (len(xt), size)
    pca = Pca(x, size)
    found = {
        "noisy image": error(noisy, xt),
        "mean image": error(np.broadcast_to(x.mean(axis=0), xt.shape), xt),
        f"PCA, {size} numbers": error(pca.project(noisy), xt),
        "best PCA of any size": min(error(pca.project(noisy, k), xt) for k in range(1, 64)),
        f"denoising autoencoder, {size} numbers": error(model.predict(noisy), xt),
    }
    print(f"noise of {noise} on digits; {model.count_params()} weights, those of the decoder tied:")
    return found


def fill_in(x, xt, hidden, size, epochs):
    """Dropout hides pixels, others at each batch; the whole image is to be told."""
    model = bp.Sequential(
        [
            bp.Input((64,)),
            L.Dropout(hidden),
            L.Dense(256, "gelu"),
            L.Dense(size, "gelu", name="code"),
            L.Dense(256, "gelu"),
            L.Dense(64, "sigmoid"),
        ],
        seed=0,
    )
    train(model, x, epochs)
    seen = np.random.default_rng(0).random(xt.shape) >= hidden
    made = model.predict(np.where(seen, xt / (1.0 - hidden), 0.0))  # as Dropout scales what it lets
    found = {
        "mean image": error(np.broadcast_to(x.mean(axis=0), xt.shape), xt, ~seen),
        f"PCA, {size} numbers": error(Pca(x, size).fill(xt, seen), xt, ~seen),
        f"masked autoencoder, {size} numbers": error(made, xt, ~seen),
    }
    print(f"{hidden:.0%} of the pixels hidden; error on those alone:")
    return found


def report(found):
    for what, value in found.items():
        print(f"  {what:38} {value:.5f}")
    own = list(found.values())[-1]
    others = [value for what, value in found.items() if "autoencoder" not in what]
    print(f"  {1 - own / min(others):.0%} less than the best of the others")
    assert own < min(others)


def main(quick):
    (x, _), (xt, _) = bp.datasets.load_digits(split=True)
    report(denoise(x, xt, noise=0.3, size=16, epochs=40 if quick else 200))
    report(fill_in(x, xt, hidden=0.5, size=16, epochs=80 if quick else 200))


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
