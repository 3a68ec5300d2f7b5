"""Where a training step's time goes on more cores: a model, by `python -m bench.scaling`.

Counts of flops and bytes over rates, phase by phase, with the core's own choice of threads and
partition. docs/scaling.md explains it; the rates for 1 and 2 cores are this machine's, those for
more are assumptions to be replaced by measurements.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math

from .networks import NETWORKS, Network

COLUMN_WEIGHTS, COLUMN_WIDTH = 2**18, 256  # cpp/ops/team_matmul.h
FLOPS_PER_THREAD, ROWS_PER_THREAD = 600_000, 4  # cpp/plan/inference.h
ELEMENTS_PER_THREAD = 65536  # cpp/train/step.cpp
SLAB_COLUMNS = 512  # cpp/train/step.h
# cpp/train/relay.cpp
RELAY_THREADS, RELAY_ROWS, RELAY_WEIGHTS, RELAY_SHARE, RELAY_VALUES = 8, (6, 12), 2**14, 2**19, 4
SLOTS = {"Adam": 2, "SGD": 0}


@dataclasses.dataclass(frozen=True)
class Machine:
    """Rates of one core, and what all share. Bytes, flops and seconds."""

    peak: float = 235e9  # float32, AVX-512
    own: float = 120e9  # a core reads what it wrote itself, from the level-3 cache
    from_others: float = 25e9  # and what another core has written
    cache: float = 32e6  # bytes of the level-3 cache; beyond them all goes to memory
    shared: float = 38e9  # all cores together from beyond their level-2 caches, two cores
    shared_per_core: float = 6e9  # that grows with the cores: memory channels, slices of cache
    barrier: float = 0.15e-6  # and for each thread that arrives:
    arrival: float = 0.06e-6
    step: float = 1.2e-6  # bookkeeping of a step, and the batch's rows on their way

    def bandwidth(self, threads: int) -> float:
        """A thread's share from beyond its own caches."""
        total = self.shared + self.shared_per_core * max(0, threads - 2)
        return min(self.from_others, total / threads)

    def rate(self, rows: int, width: int) -> float:
        """Flops a second, on one core, of a product with this number of rows and columns."""
        vectors = math.ceil(width / 16)
        lanes = width / (16 * vectors)  # 10 outputs fill 10 of 16
        chains = min(1.0, rows * min(vectors, 2) / 8)  # 8 chains hide the multiplier's latency
        return 0.9 * self.peak * lanes * chains


def threads_of(network: Network, cores: int) -> tuple[int, list[bool]]:
    """The core's rule: threads, and for each layer whether it goes by columns."""
    layers = list(itertools.pairwise(network.sizes))
    flops = [2 * i * o for i, o in layers]
    columns = [i * o >= COLUMN_WEIGHTS and o >= COLUMN_WIDTH for i, o in layers]
    threads = max(1, 3 * sum(flops) * network.batch // FLOPS_PER_THREAD)
    wide = sum(f for f, c in zip(flops, columns, strict=True) if c)
    if 2 * wide <= sum(flops):
        by_rows = max(1, math.ceil(network.batch / ROWS_PER_THREAD))
        by_update = sum(i * o for i, o in layers) // ELEMENTS_PER_THREAD
        threads = min(threads, max(by_rows, by_update))
    return min(threads, cores), columns


def relays(network: Network, threads: int) -> bool:
    """Whether the first layer is passed from thread to thread."""
    i, o = network.sizes[:2]
    shape = RELAY_VALUES * network.batch <= i and i * o >= RELAY_WEIGHTS
    shape = shape and o <= SLAB_COLUMNS
    return shape and 1 < threads <= RELAY_THREADS and 4 * i * o <= RELAY_SHARE * threads


def step(network: Network, cores: int, machine: Machine) -> dict[str, float]:
    """Seconds of one step by phase."""
    threads, columns = threads_of(network, cores)
    n, bandwidth = network.batch, machine.bandwidth(threads)
    rows = math.ceil(n / threads)
    parts = dict.fromkeys(("forward", "backward", "accumulate", "update", "barriers"), 0.0)
    slots = SLOTS[network.optimizer]
    barriers = 2
    held = 4 * (2 + slots) * sum(i * o for i, o in itertools.pairwise(network.sizes))
    for layer, ((i, o), wide) in enumerate(
        zip(itertools.pairwise(network.sizes), columns, strict=True)
    ):
        weights, share = 4 * i * o, i * o / threads
        wide = wide and threads > 1
        barriers += 2 * wide * (1 + (layer > 0))
        relay = layer == 0 and not wide and relays(network, threads)
        m, width = (n, math.ceil(o / threads)) if wide else (rows, o)
        # Weights were rewritten by their owners in the last step: they come from other cores.
        read = weights / threads + 4 * n * i if wide else weights
        product = 2 * m * i * width
        if relay:  # each waits for the block of the thread before it; the sums travel
            low, high = RELAY_ROWS
            blocks = 1 + math.ceil((n - 4) / min(max(n // 8, low), high))  # the last one of 4 rows
            product = 2 * n * i * o / threads * (1 + (threads - 1) / blocks)
            m, read = math.ceil(n / blocks), 4 * n * o
        parts["forward"] += max(product / machine.rate(m, width), read / bandwidth)
        if layer:
            width = math.ceil(i / threads) if wide else i
            read = weights / threads + 4 * n * o if wide else weights * (weights > 2**20)
            cost = 2 * m * o * width / machine.rate(m, width)
            parts["backward"] += max(cost, read / bandwidth)
        cost = 2 * n * share / machine.rate(14, min(o, 512))
        read = 4 * n * (o if relay else i / threads + o) * (threads > 1)
        parts["accumulate"] += max(cost, read / bandwidth)
        far = held > machine.cache
        parts["update"] += share * 4 * (3 + 2 * slots) / (bandwidth if far else machine.own)
    parts["barriers"] = (threads > 1) * barriers * (machine.barrier + machine.arrival * threads)
    parts["gather"] = machine.step + 4 * n * network.sizes[0] / threads / bandwidth
    return {"threads": threads, **parts, "total": sum(parts.values())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2, 8, 32, 64])
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    rows = []
    print("| network | cores | threads | us | speed-up | forward | backward | accumulate | update "
          "| barriers | gather |")  # fmt: skip
    print("| --- " * 11 + "|")
    for network in NETWORKS:
        alone = step(network, 1, Machine())["total"]
        for cores in arguments.cores:
            found = step(network, cores, Machine())
            total = found["total"]
            shares = [found[k] / total for k in ("forward", "backward", "accumulate", "update",
                                                 "barriers", "gather")]  # fmt: skip
            rows.append({"network": network.name, "cores": cores, **found})
            cells = [network.name if cores == arguments.cores[0] else "", cores, found["threads"],
                     f"{total * 1e6:.4g}", f"{alone / total:.3g}"]  # fmt: skip
            print("|", " | ".join(map(str, cells)), "|",
                  " | ".join(f"{s:.0%}" for s in shares), "|")  # fmt: skip
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
