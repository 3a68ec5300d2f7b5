"""Two nets against each other: a generator learns eight Gaussians on a ring from its critic alone.

The generator G makes points out of noise; the discriminator D tells real points from made ones. D
learns both, then G learns to be called real, through a D that is frozen meanwhile.
"""

import sys

import numpy as np

import bpcore as bp

L = bp.layers
STD, NOISE, BATCH = 0.05, 2, 256
angle = 2 * np.pi * np.arange(8) / 8
CENTRES = 2.0 * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def real(rng, n):
    points = CENTRES[rng.integers(0, 8, n)] + STD * rng.normal(size=(n, 2))
    return points.astype("float32")


def noise(rng, n):
    return rng.normal(size=(n, NOISE)).astype("float32")


def through(layers, value):
    for layer in layers:
        value = layer(value)
    return value


def build(width, steps, seed):
    """G, D, and D after G: three models that share their layers' weights."""
    generator = [L.Dense(width, "relu"), L.Dense(width, "relu"), L.Dense(2)]
    discriminator = [
        L.GaussianNoise(0.1),  # keeps D from telling by details that G cannot see yet
        L.Dense(width, "leaky_relu"),
        L.Dense(width, "leaky_relu"),
        L.Dense(1),
    ]
    z, point = bp.Input((NOISE,)), bp.Input((2,))
    made = through(generator, z)
    both = bp.Model(z, through(discriminator, made), seed=seed)
    g = bp.Model(z, made)
    d = bp.Model(point, through(discriminator, point))
    for model, rate in ((both, 1e-3), (d, 2e-3)):
        schedule = bp.schedules.Cosine(rate, decay_steps=steps)
        model.compile(bp.optimizers.Adam(schedule, beta_1=0.5), loss="binary_cross_entropy")
    return g, d, both


def quality(points):
    """Modes with at least a quarter of their share of good points, and the share of good ones."""
    distance = np.linalg.norm(points[:, None] - CENTRES, axis=2)
    good = distance.min(axis=1) < 3 * STD
    counts = np.bincount(distance.argmin(axis=1)[good], minlength=8)
    return int((counts >= len(points) / 32).sum()), float(good.mean())


def train(steps, width, seed):
    rng = np.random.default_rng(seed)
    g, d, both = build(width, steps, seed)
    labels = np.repeat(np.array([[1.0], [0.0]], "float32"), BATCH, axis=0)
    called_real = labels[:BATCH]
    for step in range(steps):
        made = g.predict(noise(rng, BATCH))
        d.trainable = True
        loss_d = d.train_on_batch(np.concatenate([real(rng, BATCH), made]), labels)["loss"]
        d.trainable = False
        loss_g = both.train_on_batch(noise(rng, BATCH), called_real)["loss"]
        if (step + 1) % (steps // 5) == 0:
            modes, good = quality(g.predict(noise(rng, 4000)))
            print(
                f"  step {step + 1}: D's loss {loss_d:.3f}, G's {loss_g:.3f}, "
                f"{modes}/8 modes, {good:.0%} good"
            )
    return quality(g.predict(noise(rng, 10000)))


def main(quick):
    seeds = (0,) if quick else (0, 1, 2)
    for seed in seeds:
        print(f"seed {seed}:")
        modes, good = train(1000 if quick else 3000, 128, seed)
        print(f"reached {modes}/8 modes, {good:.1%} of the points within 3 standard deviations")
        assert modes == 8 and good > (0.5 if quick else 0.75)
    blind = quality(np.random.default_rng(0).uniform(-2.5, 2.5, size=(10000, 2)))[1]
    print(f"(points strewn evenly over the square: {blind:.1%})")


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
