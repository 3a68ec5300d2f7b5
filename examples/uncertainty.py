"""How sure is the net? Mean and variance, and quantiles, of data whose noise depends on x."""

import sys

import numpy as np

import bpcore as bp

L = bp.layers


def noise(x):
    return 2.0 + 8.0 / (
        1.0 + np.exp(-2.0 * x)
    )  # standard deviation: 2 on the left, 10 on the right


def make_data(rng, n):
    x = rng.uniform(-3.0, 3.0, size=(n, 1))
    return x, 500.0 + 40.0 * np.sin(2.0 * x) + noise(x) * rng.normal(size=(n, 1))


def trunk(x):
    """Input and hidden layers; the data's scale is learned from the data and stored with them."""
    scaled = L.Normalization()
    scaled.adapt(x)
    a = bp.Input((1,))
    h = L.Dense(64, "gelu")(scaled(a))
    return a, L.Dense(64, "gelu")(h)


def train(model, loss, x, y, epochs):
    rate = bp.schedules.Cosine(3e-3, decay_steps=epochs * -(-len(x) // 64))
    model.compile(bp.optimizers.Adam(rate), loss=loss)
    model.set_output_bias(y)  # the best constant answer is where training starts
    start = model.evaluate(x, y)["loss"]
    model.fit(x, y, batch_size=64, epochs=epochs, verbose=0)
    return start


def gaussian(x, y, xt, yt, epochs):
    """One net with two heads: the mean in the scale of y, and the logarithm of the variance."""
    scale = L.Normalization(invert=True)
    scale.adapt(y)
    a, h = trunk(x)
    mean = scale(L.Dense(1, kernel_initializer="zeros")(h))
    log_variance = L.Dense(1, kernel_initializer="zeros")(h)
    model = bp.Model(a, L.Concatenate()([mean, log_variance]), seed=0)
    start = train(model, bp.losses.GaussianNLL(full=True), x, y, epochs)
    loss = model.evaluate(xt, yt)["loss"]
    true = 0.5 * np.log(2 * np.pi * noise(xt) ** 2) + 0.5  # its expectation, by the true law
    print(f"gaussian_nll: {start:.3f} with the best constants, {loss:.3f} after training; ", end="")
    print(f"{true.mean():.3f} is the least that is possible")
    m, s = np.split(model.predict(xt), 2, axis=1)
    deviation = np.exp(0.5 * s)
    for share, z in ((0.5, 0.67449), (0.9, 1.64485), (0.99, 2.57583)):
        covered = np.mean(np.abs(yt - m) < z * deviation)
        print(f"  intervals for {share:.0%} of the targets hold {covered:.1%}")
        assert abs(covered - share) < 0.05
    error = np.mean(np.abs(deviation / noise(xt) - 1.0))
    print(f"  predicted noise is {error:.0%} off the true one on average")
    assert loss < true.mean() + 0.1 < start


def quantiles(x, y, xt, yt, epochs):
    """One output per quantile: nothing is assumed of the noise's distribution."""
    levels = [0.05, 0.25, 0.5, 0.75, 0.95]
    scale = L.Normalization(float(y.mean()), float(y.var()), invert=True)
    a, h = trunk(x)
    model = bp.Model(a, scale(L.Dense(len(levels), kernel_initializer="zeros")(h)), seed=0)
    start = train(model, bp.losses.Quantile(levels), x, y, epochs)
    print(f"quantile: loss {start:.2f} with the best constants, ", end="")
    print(f"{model.evaluate(xt, yt)['loss']:.2f} after training")
    p = model.predict(xt)
    for level, below in zip(levels, (yt < p).mean(axis=0), strict=True):
        print(f"  below the quantile {level}: {below:.1%} of the targets")
        assert abs(below - level) < 0.05
    for side, rows in (("left", xt < -1.0), ("right", xt > 1.0)):
        inside = ((yt > p[:, :1]) & (yt < p[:, -1:]))[rows].mean()
        width = (p[:, -1:] - p[:, :1])[rows].mean()
        print(f"  on the {side}, {inside:.1%} lie between 0.05 and 0.95, {width:.1f} wide")
        assert abs(inside - 0.9) < 0.06


def main(quick):
    rng = np.random.default_rng(0)
    x, y = make_data(rng, 8000)
    xt, yt = make_data(rng, 8000)
    epochs = 40 if quick else 100
    gaussian(x, y, xt, yt, epochs)
    quantiles(x, y, xt, yt, epochs)


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
