"""Linear probe and nearest neighbors beside scikit-learn and faiss; `BLOCK=evaluation make bench`.

All get the same features. Before anything is timed, answers are compared: classifiers must reach the same objective and
give the same classes to nearly all test samples, neighbors must have the same cosines. Memory is the peak of a process
that does nothing else, less what it had before.
"""

import argparse
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from rounds import Contestant, end_if_void, ended, installed, measure, spread, this_machine
from torch import Tensor

from cl_core.evaluation.nearest import nearest
from cl_core.evaluation.protocols._logistic_regression import Curvature, Probe, fit_logistic_regression

CLASSES, K, L2 = 10, 200, 20.0
# Nats per sample by which an objective may exceed the least of all, and the share of test samples that may differ.
_MOST_EXCESS, _MOST_DIFFERENT = 1e-4, 0.01
_COSINES_ALIKE = 2e-6


class Size(NamedTuple):
    train: int
    test: int
    width: int


PROBE, NEIGHBORS = Size(20_000, 2_000, 256), Size(60_000, 2_000, 768)
_SMALL = Size(1_000, 100, 32)


class Data(NamedTuple):
    train: Tensor  # (N, D) float32, mean 0 and standard deviation 1.
    test: Tensor  # (Q, D) float32, scaled alike.
    targets: Tensor  # (N,) int64


@cache
def drawn(size: Size) -> Data:
    """Return features of overlapping classes with a spectrum that decays like 1 / rank, as learned ones have it."""
    generator = torch.Generator().manual_seed(0)
    rows = size.train + size.test
    targets = torch.randint(CLASSES, (rows,), generator=generator)
    centers = torch.randn(CLASSES, size.width, generator=generator)
    latent = 0.4 * centers[targets] + torch.randn(rows, size.width, generator=generator)
    mixing = torch.linalg.qr(torch.randn(size.width, size.width, generator=generator)).Q
    features = (latent / torch.arange(1, size.width + 1)) @ mixing
    std, mean = torch.std_mean(features[: size.train], dim=0)
    features = (features - mean) / std
    return Data(features[: size.train], features[size.train :], targets[: size.train])


def our_probe(data: Data) -> Probe:
    start = Probe.zero(data.train.shape[1], CLASSES)
    curvature = Curvature.at(start, [data.train])
    return fit_logistic_regression([data.train], data.targets, l2=L2, start=start, curvature=curvature, tolerance=1e-5)


def sklearn_probe(data: Data) -> Probe:
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=1 / L2, max_iter=10_000).fit(data.train.numpy(), data.targets.numpy())
    return Probe(torch.from_numpy(fitted.coef_).float(), torch.from_numpy(fitted.intercept_).float())


def our_neighbors(data: Data) -> NDArray[np.float32]:
    return nearest(data.test, data.train, k=K).cosines.numpy()


def sklearn_neighbors(data: Data) -> NDArray[np.float32]:
    from sklearn.neighbors import NearestNeighbors

    # On unit rows, which is faster than the metric "cosine": the nearest are the same.
    train, test = (F.normalize(rows, dim=1).numpy() for rows in (data.train, data.test))
    distances, _ = NearestNeighbors(n_neighbors=K, algorithm="brute").fit(train).kneighbors(test)
    return (1 - distances**2 / 2).astype(np.float32)


def faiss_neighbors(data: Data) -> NDArray[np.float32]:
    import faiss

    index = faiss.IndexFlatIP(data.train.shape[1])
    index.add(F.normalize(data.train, dim=1).numpy())
    cosines, _ = index.search(F.normalize(data.test, dim=1).numpy(), K)
    return cosines


PROBES: dict[str, Callable[[Data], Probe]] = {
    "here": our_probe,
    "scikit-learn": sklearn_probe,
}
SEARCHES = {"here": our_neighbors, "scikit-learn": sklearn_neighbors}
if installed("faiss"):
    SEARCHES["faiss"] = faiss_neighbors


def objective(probe: Probe, data: Data) -> float:
    """Return the mean cross-entropy with the penalty, in float64."""
    logits = F.linear(data.train.double(), *(part.double() for part in probe))
    penalty = L2 / 2 * probe.weights.double().square().sum() / len(data.train)
    return (F.cross_entropy(logits, data.targets) + penalty).item()


def check(probes: Data, neighbors: Data) -> None:
    """Compare all answers: the work must be equal."""
    fitted = {name: fit(probes) for name, fit in PROBES.items()}
    excess = {name: objective(probe, probes) for name, probe in fitted.items()}
    least, classes = min(excess.values()), {name: probe.predict([probes.test]) for name, probe in fitted.items()}
    for name in PROBES:
        different = np.mean(classes[name] != classes["scikit-learn"])
        print(f"{name}: objective {excess[name] - least:.1e} above the least, {different:.2%} of the classes differ")
        assert excess[name] - least <= _MOST_EXCESS and different <= _MOST_DIFFERENT, name
    exact = [F.normalize(rows.double(), dim=1) for rows in (neighbors.test[:50], neighbors.train)]
    expected = (exact[0] @ exact[1].T).topk(K).values.numpy()
    for name, search in SEARCHES.items():
        error = np.abs(np.sort(search(neighbors)[:50], axis=1)[:, ::-1] - expected).max()
        print(f"{name}: cosines of the {K} nearest differ by at most {error:.1e} from those in float64")
        assert error <= _COSINES_ALIKE, name


def peak_mib(kind: str, name: str, *, small: bool) -> float:
    """Return what a contestant takes in a process of its own, in MiB beside the features and the libraries."""
    command = [sys.executable, __file__, "--peak", kind, name, *(["--small"] if small else [])]
    return float(ended(command).stdout)


def _print_peak(kind: str, name: str, *, small: bool) -> None:
    run, size = (PROBES[name], PROBE) if kind == "probe" else (SEARCHES[name], NEIGHBORS)
    data = drawn(_SMALL if small else size)
    run(drawn(_SMALL))
    before = _status_mib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # The peak of what comes next counts.
    run(data)
    print(max(0.0, _status_mib("VmHWM") - before))


def _status_mib(field: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def run_once(run: Callable[[Data], object], data: Data) -> int:
    """Run a contestant once, for `rounds.measure`."""
    run(data)
    return 1


def main() -> None:
    """Print the results; with --peak, only what one contestant takes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peak", nargs=2, metavar=("KIND", "NAME"))
    parser.add_argument("--small", action="store_true", help="one round on few samples, to see that everything runs")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.peak:
        _print_peak(*chosen.peak, small=chosen.small)
        return
    probes, neighbors = drawn(_SMALL if chosen.small else PROBE), drawn(_SMALL if chosen.small else NEIGHBORS)
    print(this_machine())
    check(probes, neighbors)
    races = []
    for kind, runs, data in (("probe", PROBES, probes), ("neighbors", SEARCHES, neighbors)):
        turns = {name: Contestant(partial(run_once, run, data), chosen.threads) for name, run in runs.items()}
        measured = measure(turns, rounds=1 if chosen.small else chosen.rounds, title=kind)
        print(f"\n| {kind} | seconds | CPU seconds | times as slow as here | peak, MiB |\n|---|---|---|---|---|")
        for name in runs:
            seconds, cpu = ([1 / rate for rate in rates[name]] for rates in (measured.rates, measured.cpu_rates))
            ratios = spread(measured.against("here", name), "{:.2f}")
            peak = peak_mib(kind, name, small=chosen.small)
            print(f"| {name} | {spread(seconds, '{:.2f}')} | {spread(cpu, '{:.2f}')} | {ratios} | {peak:,.0f} |")
        races.append(measured)
    end_if_void(*races, small=chosen.small)


if __name__ == "__main__":
    main()
