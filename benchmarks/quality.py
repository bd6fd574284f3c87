"""How good the optima are that fits end in, by how they start: fastgmm's methods, scikit-learn and mclust.

    python benchmarks/quality.py [--seeds 20] [--only NAME] [--sides A,B] [--rscript Rscript] [--json FILE]
    python benchmarks/quality.py --read FILE [--page docs/seeding.md] [--plot docs/seeding.png]

The first fits and prints the tables; the second prints those of an earlier run, and writes them into a page and draws
them. All sides have their default tolerances and iterations. Every fit is then carried on by EM until nothing changes:
that tells which optimum it was near.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import machine_facts
from numpy.typing import NDArray
from readme import rewritten

from fastgmm import GaussianMixture, datasets
from fastgmm.families import FAMILIES
from fastgmm.starts.seeding import METHODS

MCLUST = Path(__file__).parent / "peers" / "mclust_default.R"
BEGIN = "<!-- quality -->\n"

#: Who fits without being fastgmm, and everyone whose seeds are compared.
OTHERS = "scikit-learn", "mclust"
SIDES = "scikit-learn", *METHODS

#: Mean log-likelihoods (nat) that differ by less belong to one optimum.
SAME_OPTIMUM = 1e-3
#: A fit is spurious if a component is narrower than this in some direction, relative to the data there, or holds no
#: more rows than features and one: the likelihood of such components grows without bound as they shrink.
SPURIOUS_WIDTH = 0.005

#: Numbers of starts that are compared.
N_INITS = 1, 10

#: mclust's names of the families, in several dimensions and in one.
MCLUST_MODELS = {"full": ("VVV", "V"), "tied": ("EEE", "E"), "diag": ("VVI", "V"), "spherical": ("VII", "V")}


@dataclass(frozen=True)
class Case:
    """A data set, and the mixture to be fitted to it."""

    data: str
    covariance_type: str
    n_components: int

    @property
    def name(self) -> str:
        return f"{self.data} {self.covariance_type} {self.n_components}"


CASES = [
    Case("iris", "full", 3),
    Case("iris", "diag", 3),
    Case("faithful", "full", 3),
    Case("faithful", "diag", 3),
    Case("galaxies", "full", 3),
    Case("galaxies", "full", 4),
    Case("acidity", "full", 2),
    Case("diabetes", "full", 3),
    Case("diabetes", "spherical", 3),
    Case("wine", "diag", 3),
    Case("cancer", "full", 2),
    Case("digits", "full", 10),
    Case("pixels", "full", 12),
    Case("overlap 2 %", "full", 6),
    Case("overlap 10 %", "full", 6),
    Case("stripes", "full", 5),
]


def load(data: str) -> NDArray[np.float64]:
    """Return the rows of a data set by its name, always the same."""
    if data.startswith("overlap"):
        return _overlapping(float(data.split()[1]) / 100.0)
    return LOADERS[data]()


def _standardised(X: NDArray) -> NDArray:
    return (X - X.mean(axis=0)) / X.std(axis=0)


def _digits() -> NDArray:
    from sklearn.datasets import load_digits
    from sklearn.decomposition import PCA

    return PCA(10, svd_solver="full").fit_transform(load_digits().data)


def _wine() -> NDArray:
    from sklearn.datasets import load_wine

    return _standardised(load_wine().data)


def _cancer() -> NDArray:
    from sklearn.datasets import load_breast_cancer

    return _standardised(load_breast_cancer().data)


def _pixels() -> NDArray:
    """Return the colours of 5,000 pixels of a photograph, in 0..1, spread over the bins that they were rounded to."""
    from sklearn.datasets import load_sample_image

    rng = np.random.default_rng(0)
    colours = load_sample_image("china.jpg").reshape(-1, 3)
    return (rng.choice(colours, 5000, replace=False) + rng.random((5000, 3))) / 256.0


def overlapping_mixture(error: float, n_components: int = 6, n_features: int = 4) -> tuple[NDArray, NDArray, NDArray]:
    """Return the weights, means and factors (covariance = factor factor^T) of a mixture of known overlap.

    Even the mixture itself puts the share `error` of its rows into the wrong component. Covariances are random
    rotations of axes with standard deviations of 0.3 to 1.7; the means, normal at first, are scaled until the error is
    right, as counted on 20,000 rows.
    """
    rng = np.random.default_rng(1)
    weights = rng.dirichlet(np.full(n_components, 5.0))
    directions = rng.normal(size=(n_components, n_features))
    rotations = np.linalg.qr(rng.normal(size=(n_components, n_features, n_features)))[0]
    factors = rotations * rng.uniform(0.3, 1.7, size=(n_components, 1, n_features))
    labels, noise = _drawn(weights, factors, 20_000)
    low, high = 0.0, 100.0
    while high - low > 1e-3:
        scale = 0.5 * (low + high)
        model = GaussianMixture.from_parameters(weights, scale * directions, factors @ np.swapaxes(factors, 1, 2))
        wrong = np.mean(model.predict(scale * directions[labels] + noise) != labels)
        low, high = (scale, high) if wrong > error else (low, scale)
    return weights, high * directions, factors


def _drawn(weights: NDArray, factors: NDArray, n_samples: int) -> tuple[NDArray, NDArray]:
    """Return labels, and rows about their means, always the same."""
    rng = np.random.default_rng(3)
    labels = rng.choice(len(weights), n_samples, p=weights)
    return labels, np.einsum("nij,nj->ni", factors[labels], rng.normal(size=(n_samples, factors.shape[1])))


def _overlapping(error: float) -> NDArray:
    """Return 2,000 rows of a mixture of known overlap."""
    weights, means, factors = overlapping_mixture(error)
    labels, noise = _drawn(weights, factors, 2000)
    return means[labels] + noise


def _stripes() -> NDArray:
    """Return five parallel groups, ten times as long as wide, side by side, in three dimensions."""
    rng = np.random.default_rng(2)
    return rng.normal(size=(1500, 3)) * [10.0, 1.0, 1.0] + np.repeat(np.arange(5), 300)[:, None] * [0.0, 5.0, 0.0]


LOADERS: dict[str, Callable[[], NDArray]] = {
    "iris": lambda: datasets.load_iris().data,
    "faithful": lambda: datasets.load_faithful().data,
    "galaxies": lambda: datasets.load_galaxies().data / 1000.0,
    "acidity": lambda: datasets.load_acidity().data,
    "diabetes": lambda: datasets.load_diabetes().data,
    "wine": _wine,
    "cancer": _cancer,
    "digits": _digits,
    "pixels": _pixels,
    "stripes": _stripes,
}


@dataclass(frozen=True)
class Run:
    """One fit: its mean log-likelihood (nat), that of the optimum it was near, seconds, and how healthy it is.

    `rows` is the weight of the smallest component, in rows; `width` the standard deviation of the narrowest direction
    of any component, relative to the data's in that direction. A fit that failed has nan for these.
    """

    case: str
    side: str
    n_init: int
    seed: int
    seconds: float
    score: float
    optimum: float
    rows: float
    width: float
    n_features: int

    @property
    def is_sound(self) -> bool:
        """Whether it succeeded, and its optimum is not spurious."""
        return bool(self.width >= SPURIOUS_WIDTH and self.rows > self.n_features + 1.0)


Parameters = tuple[NDArray, NDArray, NDArray]


def fit_python(estimator: Callable[..., Any], case: Case, X: NDArray, **params: Any) -> tuple[float, Parameters | None]:
    """Return the seconds and the parameters of a fit by a class of either library."""
    model = estimator(case.n_components, covariance_type=case.covariance_type, **params)
    begin = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X)
    except ValueError:
        return time.perf_counter() - begin, None
    return time.perf_counter() - begin, (model.weights_, model.means_, model.covariances_)


def fit_mclust(rscript: str, case: Case, X: NDArray, seed: int) -> tuple[float, Parameters | None]:
    """Return the seconds and the parameters of mclust's fit from its own start, in a process of its own."""
    (n_samples, n_features), n_components = X.shape, case.n_components
    with tempfile.TemporaryDirectory() as folder:
        np.array([n_samples, n_features], np.float64).tofile(Path(folder) / "sizes")
        np.ascontiguousarray(X.T, np.float64).tofile(Path(folder) / "X")
        model = MCLUST_MODELS[case.covariance_type][n_features == 1]
        command = [rscript, str(MCLUST), folder, model, str(n_components), str(seed)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds, *values = np.fromfile(Path(folder) / "result")
    if not values:
        return seconds, None
    weights, means, flat = np.split(np.array(values), np.cumsum([n_components, n_components * n_features]))
    dense = flat.reshape(n_components, n_features, n_features)
    covariances = {
        "full": dense,
        "tied": dense[0],
        "diag": np.diagonal(dense, axis1=1, axis2=2),
        "spherical": dense[:, 0, 0],
    }[case.covariance_type]
    return seconds, (weights, means.reshape(n_components, n_features), covariances)


def judged(case: Case, X: NDArray, seconds: float, found: Parameters | None, **labels: Any) -> Run:
    """Return what there is to say of a fit."""
    labels |= {"case": case.name, "seconds": seconds, "n_features": X.shape[1]}
    nothing = Run(score=np.nan, optimum=np.nan, rows=np.nan, width=np.nan, **labels)
    if found is None:
        return nothing
    weights, means, covariances = found
    weights = weights / weights.sum()
    try:
        model = GaussianMixture.from_parameters(
            weights, means, covariances, case.covariance_type, warm_start=True, tol=1e-6, max_iter=500
        )
        score = model.score(X)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X)
    except ValueError:
        return nothing
    dense = FAMILIES[case.covariance_type].matrices(model.covariances_, *means.shape)
    whitener = np.linalg.inv(np.linalg.cholesky(np.atleast_2d(np.cov(X.T))))
    width = float(np.sqrt(max(np.linalg.eigvalsh(whitener @ dense @ whitener.T).min(), 0.0)))
    rows = float(model.weights_.min() * len(X))
    return Run(score=score, optimum=model.lower_bound_, rows=rows, width=width, **labels)


def measured(cases: list[Case], most_seeds: int, rscript: str | None, sides: list[str]) -> list[Run]:
    """Fit everything from each side and seed; a fit beforehand, whose time does not count, may compile.

    Data of more than a thousand rows have a quarter of the seeds, and fits of several starts half of them.
    """
    from sklearn.mixture import GaussianMixture as Theirs

    runs = []
    for case in cases:
        X = load(case.data)
        n_seeds = most_seeds if len(X) <= 1000 else -(-most_seeds // 4)
        if rscript:
            # It draws rows only where there are more than it agglomerates.
            for seed in range(n_seeds if len(X) > 2000 else 1):
                seconds, found = fit_mclust(rscript, case, X, seed)
                runs.append(judged(case, X, seconds, found, side="mclust", n_init=1, seed=seed))
        for side in sides:
            estimator = Theirs if side == "scikit-learn" else GaussianMixture
            params = {} if side == "scikit-learn" else {"init_params": side}
            fit_python(estimator, case, X, **params)
            for n_init in N_INITS:
                for seed in range(n_seeds if n_init == 1 else -(-n_seeds // 2)):
                    seconds, found = fit_python(estimator, case, X, n_init=n_init, random_state=seed, **params)
                    runs.append(judged(case, X, seconds, found, side=side, n_init=n_init, seed=seed))
            print(f"{case.name}: {side}", file=sys.stderr)
    return runs


def best_runs(runs: list[Run]) -> dict[str, Run]:
    """Return for each case the fit that was near the best optimum known, spurious ones left out."""
    best: dict[str, Run] = {}
    for run in runs:
        if run.is_sound and (run.case not in best or run.optimum > best[run.case].optimum):
            best[run.case] = run
    return best


def best_table(runs: list[Run]) -> list[str]:
    """Return a Markdown table of the best optima known, with their smallest and their narrowest component."""
    lines = [
        _row("data, family, K", "nat per row", "smallest component", "narrowest direction"),
        _row("---", *["---:"] * 3),
    ]
    for case, run in best_runs(runs).items():
        lines.append(_row(case, f"{run.optimum:.4f}", f"{run.rows:.0f} rows", f"{100.0 * run.width:.1f} %"))
    return lines


def table(runs: list[Run], n_init: int) -> list[str]:
    """Return a Markdown table: for each case and side the median shortfall, and how many found the best optimum.

    Of shortfalls those of sound fits count; how many others there are is said.
    """
    best = best_runs(runs)
    sides = list(dict.fromkeys(run.side for run in runs if run.n_init == n_init))
    lines = [_row("data, family, K", *sides), _row("---", *["---:"] * len(sides))]
    for case in best:
        cells = []
        for side in sides:
            mine = [run for run in runs if (run.case, run.side, run.n_init) == (case, side, n_init)]
            cells.append(_cell(mine, best[case].optimum))
        lines.append(_row(case, *cells))
    return lines


def _cell(runs: list[Run], best: float) -> str:
    if all(np.isnan(run.score) for run in runs):
        return "fails"
    sound = [run for run in runs if run.is_sound]
    found = sum(run.optimum > best - SAME_OPTIMUM for run in sound)
    spurious = sum(not np.isnan(run.score) for run in runs) - len(sound)
    shortfall = f"{best - statistics.median(run.score for run in sound):.3f}" if sound else ""
    text = f"{shortfall} ({100 * found / len(runs):.0f} %)"
    return text + (f" {spurious} spurious" if spurious else "")


def seconds_table(runs: list[Run]) -> list[str]:
    """Return a Markdown table of the median milliseconds of a fit by each side, over all cases and by n_init."""
    sides = list(dict.fromkeys(run.side for run in runs))
    lines = [_row("", *sides), _row("---", *["---:"] * len(sides))]
    for n_init in sorted({run.n_init for run in runs}):
        cells = []
        for side in sides:
            times = [run.seconds for run in runs if (run.side, run.n_init) == (side, n_init)]
            cells.append(f"{1e3 * statistics.median(times):.1f}" if times else "")
        lines.append(_row(f"n_init = {n_init}: ms", *cells))
    return lines


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def shares_within(runs: list[Run], side: str, n_init: int, tolerances: NDArray) -> NDArray:
    """Return the share of a side's fits, each case counting the same, that soundly end within each tolerance."""
    shares = []
    for case, best in best_runs(runs).items():
        mine = [run for run in runs if (run.case, run.side, run.n_init) == (case, side, n_init)]
        if mine:
            ends = np.array([run.score if run.is_sound else -np.inf for run in mine])
            shares.append(np.mean(ends[:, None] >= best.optimum - tolerances, axis=0))
    return np.mean(shares, axis=0)


def inside(run: dict[str, Any]) -> str:
    """Return what stands on the page: the tables of a run and what they were measured with, in Markdown."""
    runs = [Run(**each) for each in run["runs"]]
    parts = [f"One start (`n_init=1`), {run['seeds']} seeds:", "", *table(runs, 1), ""]
    parts += ["Ten starts (`n_init=10`):", "", *table(runs, 10), "", *seconds_table(runs), ""]
    parts += ["The best optima known:", "", *best_table(runs), ""]
    return "\n".join([*parts, ", ".join(f"{name} {value}" for name, value in run["machine"].items()) + ".\n"])


def draw(runs: list[Run], path: Path) -> None:
    """Draw, for each side, the share of fits that end within a tolerance of the best."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    tolerances = np.geomspace(1e-4, 1.0, 200)
    sides = list(dict.fromkeys(run.side for run in runs))
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, n_init in zip((left, right), N_INITS, strict=True):
        for number, side in enumerate(sides):
            if any((run.side, run.n_init) == (side, n_init) for run in runs):
                shares = shares_within(runs, side, n_init, tolerances)
                style = ("--" if side in OTHERS else "-") + f"C{number}"
                axes.plot(tolerances, 100.0 * shares, style, linewidth=2.5 if side == "auto" else 1.2, label=side)
        axes.set(xscale="log", xlabel="nat per row below the best known optimum", title=f"n_init={n_init}")
        axes.set(xlim=(tolerances[0], tolerances[-1]), ylim=(0, 102))
        axes.grid(alpha=0.3)
    left.set_ylabel("% of fits, each data set counting the same")
    figure.legend(*left.get_legend_handles_labels(), loc="outside right center", fontsize="small", frameon=False)
    figure.savefig(path, dpi=90)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20, help="fits from each side (default 20)")
    parser.add_argument("--only", default="", metavar="NAME", help="only the cases whose name contains this")
    parser.add_argument("--sides", default=",".join(SIDES), help="scikit-learn and values of init_params, with commas")
    parser.add_argument("--rscript", metavar="PROGRAM", help="run mclust, too: an Rscript that has it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all fits")
    parser.add_argument("--read", type=Path, metavar="FILE", help="take the fits of an earlier run")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the tables between the marks of this page")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the shares of fits near the best optimum")
    options = parser.parse_args(arguments)
    if options.read:
        run = json.loads(options.read.read_text())
    else:
        cases = [case for case in CASES if options.only in case.name]
        if not cases:
            parser.error(f"no case's name contains {options.only!r}: {', '.join(case.name for case in CASES)}")
        runs = measured(cases, options.seeds, options.rscript, options.sides.split(","))
        run = {"machine": machine_facts(), "seeds": options.seeds, "runs": [asdict(each) for each in runs]}
    if options.json:
        options.json.write_text(json.dumps(run))
    text = inside(run)
    print(text)
    if options.page:
        options.page.write_text(rewritten(options.page.read_text(), text, BEGIN))
    if options.plot:
        draw([Run(**each) for each in run["runs"]], options.plot)


if __name__ == "__main__":
    main()
