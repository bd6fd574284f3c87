"""Where a fit starts: first statistics from rows near centres, partitions, short fits or given responsibilities.

A component that starts on its nearest rows and is too thin for a covariance, on few different rows or where features
are as good as dependent, is smoothed by pseudo-rows of little weight on a scale that comes from near it
(:mod:`fastgmm.kernels.updates.smoothing`). Seeded on a single row it is then a broad one, not a spike of width
sqrt(reg_covar) that no other row can reach. Rows are counted once however often they occur: copies and weights of rows
are the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgmm import kernels
from fastgmm.exceptions import CollapsedComponentError, OutOfRangeError
from fastgmm.families import Family
from fastgmm.fitting.loop import fit_loop
from fastgmm.fitting.plain import FitResult, Rule, updated
from fastgmm.kernels import Density
from fastgmm.kernels.updates.smoothing import smooth_thin
from fastgmm.passes.expectation import OVERFLOW
from fastgmm.rows import ArrayRows, Shared
from fastgmm.sources import Source
from fastgmm.starts import short_fits
from fastgmm.starts.agglomeration import agglomerated, covariance, means_of, sphered
from fastgmm.starts.kmeans import in_order, kmeans, pick_centres, plus_plus
from fastgmm.statistics import Array, SufficientStatistics

METHODS = (
    "kmeans",
    "k-means++",
    "random",
    "random_from_data",
    "kmeans-whitened",
    "agglomerative",
    "short-em",
    "auto",
)

SAMPLE_ROWS = 2**15
SAMPLE_FLOATS = 2**21
SAMPLE_ROWS_PER_COMPONENT = 50
# A spread whose inverse can still be squared.
_NARROWEST = 1e-140
# What the starts of "auto" are made by, one after the other; the last one again and again.
_AUTO = ("kmeans", "short-em", "kmeans-whitened", "agglomerative", "short-em")
# Rows that are agglomerated: time grows with their square.
_AGGLOMERATED_ROWS = 1000
_AGGLOMERATED_ROWS_PER_COMPONENT = 3
# Most whitenings by the covariance within clusters, partitions tried, the least variance within clusters that is told
# from none, relative to that of all rows, and on how many rows.
_WHITENINGS = 20
WHITENED_RUNS = 5
_LEAST_WITHIN = 1e-8
WHITENED_ROWS = 2**13
# Short fits: how many, of how many updates, on how many rows.
SHORT_FITS = 10
_SHORT_FIT_UPDATES = 10
SHORT_FIT_ROWS = 2**13
_SHORT_FIT_START = "k-means++"
# Rows that starts race on, also for each feature of each component, and how many times as many make a race worth it.
_RACE_ROWS = 2**15
_RACE_ROWS_PER_PARAMETER = 20
_RACE_SAVED = 4
_NO_LABELS = np.empty(0, np.int64)


class RandomResponsibilities:
    """A table of random responsibilities that is made when it is read; a row is the same in whichever slice."""

    def __init__(self, n_components: int, seed: int) -> None:
        self._n_components = int(n_components)
        self._seed = seed

    def __getitem__(self, places: slice) -> Array:
        bits = np.random.PCG64(self._seed).advance(places.start * self._n_components)
        table = np.random.Generator(bits).random((places.stop - places.start, self._n_components))
        return table / table.sum(axis=1, keepdims=True)


def seed(
    rule: Rule,
    source: Source,
    n_components: int,
    random_state: Any,
    method: str = "kmeans",
    *,
    means: Array | None = None,
    labels: NDArray[np.int64] | None = None,
    responsibilities: Array | None = None,
    restart: int = 0,
) -> Any:
    """Return the rule's state after its first update.

    Parameters
    ----------
    rule, source : of one family
    method : one of METHODS; unused where one of the following is given
    means : (K, D) centres; each row starts in the component of the nearest
    labels : (N,) int64 in 0..K-1
    responsibilities : (N, K), rows summing to 1
    restart : how many starts came before; "auto" takes another method then

    Notes
    -----
    Takes one number from `random_state`, whatever the method. Raises CollapsedComponentError where a start has no
    valid covariance; OutOfRangeError where no short fit has a finite bound.
    """
    drawn = int(random_state.uniform() * 2**53)
    random_state = np.random.default_rng(drawn)
    if method == "auto":
        method = _AUTO[min(restart, len(_AUTO) - 1)]
    if means is None and labels is None and responsibilities is None and method in _ON_A_SAMPLE:
        return _from_a_sample(rule, source, n_components, random_state, method)
    family = source.family
    n_rows = max(min(SAMPLE_ROWS, SAMPLE_FLOATS // source.n_features), SAMPLE_ROWS_PER_COMPONENT * n_components)
    look = points, weight, middle, _, spread = _points(source, n_rows, random_state)
    nearest = False
    if labels is not None or responsibilities is not None or (means is None and method == "random"):
        density = family.isotropic(np.repeat(middle[None], n_components, axis=0), 1.0)
        if labels is not None:
            assignment: dict[str, Any] = {"mode": kernels.LABELLED, "labels": labels}
        else:
            table = responsibilities
            if table is None:
                number = int(random_state.integers(2**53))
                table = RandomResponsibilities(n_components, number)  # type: ignore[assignment]
            assignment = {"mode": kernels.GIVEN, "responsibilities": table}
    else:
        if means is None:
            means = _centres(source, look, n_components, drawn, random_state, method)
        density = family.isotropic(means, 1.0 / max(spread, _NARROWEST))
        assignment = {"mode": kernels.HARD}
        nearest = True

    return first_state(rule, source, density, assignment, points, weight, nearest)


def first_state(
    rule: Rule,
    source: Source,
    density: Density,
    assignment: dict[str, Any],
    points: Array,
    weight: Array,
    partition: bool,
) -> Any:
    """Return the rule's state after an update by the statistics that `assignment` makes of the rows.

    Thin components are smoothed where they come from a `partition`, and the rule wants it, by what is near them among
    the rows `points`, which are all or a sample.
    """
    family = source.family

    def collect(origin: Array | None = None) -> SufficientStatistics:
        statistics = source.collect(density, origin, **assignment)
        return _smoothed(family, statistics, density, points, weight, labels) if smooth else statistics

    smooth = partition and rule.smooths_seeds
    labels = assignment.get("labels", _NO_LABELS)
    statistics = collect()
    if assignment["mode"] != kernels.HARD:
        # Moments about the middle of all rows would cost components that are narrow in some direction their digits.
        statistics = collect(statistics.mean)
    return updated(rule, collect, statistics)


def _points(source: Source, n_rows: int, random_state: Any) -> tuple[Array, Array, Array, Array, float]:
    """Return rows, all or some drawn at random, their weights, and what :func:`about_the_middle` makes of them."""

    def look() -> tuple[Array, Array, Array, Array, float]:
        points, weight = source.rows.sample(n_rows, random_state)
        return points, weight, *about_the_middle(points, weight)

    # All rows are the same for every fit.
    return source.rows.share("points", look) if source.rows.summary.n_weighted <= n_rows else look()


def _centres(
    source: Source,
    look: tuple[Array, Array, Array, Array, float],
    n_components: int,
    drawn: int,
    random_state: Any,
    method: str,
) -> Array:
    """Return centres (K, D) by a method among rows as :func:`_points` returns them; once for each `drawn` seed."""
    _, weight, middle, centred, spread = look

    def pick() -> Array:
        # Distances are squared: in units of the spread neither tiny nor huge data under- or overflow.
        unit = centred / spread
        return middle + spread * pick_centres(unit, weight, n_components, random_state, method, source.n_threads)

    return source.rows.share(("centres", method, n_components, drawn), pick)


def about_the_middle(points: Array, weight: Array) -> tuple[Array, Array, float]:
    """Return the mean of rows, the rows about it, and the largest number among these (1 where all are 0)."""
    middle = np.average(points, axis=0, weights=weight)
    centred = points - middle
    spread = float(np.abs(centred).max()) or 1.0
    if not np.isfinite(float(weight.sum()) * spread * spread):
        raise OutOfRangeError(OVERFLOW)
    return middle, centred, spread


class Sample(Source):
    """Rows of a source, all or some drawn at random, which stand for the weight of all."""

    def __init__(self, source: Source, n_rows: int, random_state: Any) -> None:
        points, weight = source.rows.sample(n_rows, random_state)
        self.is_whole = len(points) == source.n_weighted_rows
        if not self.is_whole:
            weight *= source.total_weight / weight.sum()
        self.points, self.weight = points, weight
        self.middle, self.centred, _ = about_the_middle(points, weight)
        # In the type of the source: what is compiled for it serves the sample, too.
        rows = ArrayRows(points.astype(source.rows.dtype), weight)
        super().__init__(source.family, rows, source.n_threads, n_kept=source.n_kept)
        shared = source.rows.shared
        if shared is not None:
            # Samples of the same rows have in common what they are made into.
            told = hashlib.blake2b(self.points.tobytes())
            told.update(self.weight.tobytes())
            rows.shared = shared.get(("sample", told.digest()), Shared)


def race_sample(source: Source, n_components: int, random_state: Any) -> Sample | None:
    """Return rows that tell good starts from poor ones; None where that takes not much less time than all rows.

    Or where rows are more than their numbers, which are all that a sample has. Takes one number from `random_state`.
    """
    generator = np.random.default_rng(int(random_state.uniform() * 2**53))
    if source.rows.source_type is not None:
        return None
    n_rows = max(_RACE_ROWS, _RACE_ROWS_PER_PARAMETER * n_components * source.n_features)
    return Sample(source, n_rows, generator) if source.n_weighted_rows >= _RACE_SAVED * n_rows else None


def updated_by_all(rule: Rule, source: Source, state: Any) -> Any:
    """Return the state after an update by all rows of a source, of which a sample has made it."""
    density = rule.density(state)
    return updated(rule, lambda origin: source.collect(density, origin), source.collect(density), density)


def _from_a_sample(rule: Rule, source: Source, n_components: int, random_state: Any, method: str) -> Any:
    """Return the state that `method` finds on a sample; where that is not all rows, updated once by all of them."""
    find, n_rows, n_rows_per_component = _ON_A_SAMPLE[method]
    n_rows = max(min(n_rows, SAMPLE_FLOATS // source.n_features), n_rows_per_component * n_components)
    sample = Sample(source, n_rows, random_state)
    state = find(rule, sample, n_components, random_state)
    if sample.is_whole:
        return state
    return updated_by_all(rule, source, state)


def _whitened(rule: Rule, sample: Sample, n_components: int, random_state: Any) -> Any:
    """Return the start from k-means in the metric of the covariance within its clusters.

    k-means in sphered coordinates comes first; then each round measures distances by the covariance within the last
    round's clusters, until no row changes. That lowers the determinant of that covariance (Friedman and Rubin 1967),
    and with it, unlike the sum of squares, nothing depends on the units and mixtures of the features. Of several such
    partitions the one of lowest determinant is kept.
    """
    return _from_partition(rule, sample, n_components, _whitened_labels(sample, n_components, random_state))


def _whitened_labels(sample: Sample, n_components: int, random_state: Any) -> NDArray[np.int64]:
    rows, weight, n_threads = sphered(sample.points, sample.weight), sample.weight, sample.n_threads
    return whitened_labels(
        rows,
        weight,
        n_components,
        lambda: rows[plus_plus(rows, weight, n_components, random_state, n_threads)],
        lambda moved, centres: kmeans(moved, centres, weight, n_threads=n_threads).labels,
    )


def whitened_labels(
    rows: Array,
    weight: Array,
    n_components: int,
    begin: Callable[[], Array],
    cluster: Callable[[Array, Array], NDArray[np.int64]],
    n_runs: int = WHITENED_RUNS,
) -> NDArray[np.int64]:
    """Return the partition of sphered rows (N, R) that k-means comes to in the metric within its clusters, (N,) int64.

    The best of several runs, of which each begins with the centres (K, R) of `begin`; ``cluster(rows, centres)``
    returns the labels of k-means from given centres.
    """
    least = np.inf
    for _ in range(n_runs):
        labels = cluster(rows, begin())
        for _ in range(_WHITENINGS):
            means = means_of(rows, weight, labels, n_components)
            values, vectors = np.linalg.eigh(covariance(rows - means[labels], weight))
            values = np.maximum(values, _LEAST_WITHIN)
            metric = vectors / np.sqrt(values)
            moved = rows @ metric
            previous, labels = labels, cluster(moved, means @ metric)
            if np.array_equal(labels, previous):
                break
        determinant = float(np.log(values).sum())
        if determinant < least:
            least, best = determinant, labels
    return best


def covariance_within(source: Source, n_components: int) -> Array:
    """Return the covariance (D, D) within the groups of a partition of the rows, or of some where there are many.

    Of several partitions, by k-means in the units of the rows and that of 'kmeans-whitened', the one of lowest
    determinant counts. The random numbers are always the same.
    """
    random_state = np.random.default_rng(0)
    n_rows = max(min(WHITENED_ROWS, SAMPLE_FLOATS // source.n_features), SAMPLE_ROWS_PER_COMPONENT * n_components)
    sample = Sample(source, n_rows, random_state)
    rows, weight, n_threads = sample.centred, sample.weight, sample.n_threads
    unit = rows / (float(np.abs(rows).max()) or 1.0)
    partitions = [_whitened_labels(sample, n_components, random_state)]
    for _ in range(WHITENED_RUNS):
        centres = unit[plus_plus(unit, weight, n_components, random_state, n_threads)]
        partitions.append(kmeans(unit, centres, weight, n_threads=n_threads).labels)

    def within(about: Array, labels: NDArray[np.int64]) -> Array:
        return covariance(about - means_of(about, weight, labels, n_components)[labels], weight)

    # In sphered coordinates, where a direction without spread is told from rounding.
    sphere = sphered(sample.points, weight)

    def log_determinant(labels: NDArray[np.int64]) -> float:
        return float(np.log(np.maximum(np.linalg.eigvalsh(within(sphere, labels)), _LEAST_WITHIN)).sum())

    return within(rows, min(partitions, key=log_determinant))


def _agglomerated(rule: Rule, sample: Sample, n_components: int, random_state: Any) -> Any:
    labels = agglomerated(
        sample.family, sample.points, sample.weight, n_components, sample.n_threads, sample.rows.share
    )
    return _from_partition(rule, sample, n_components, labels)


def _from_partition(rule: Rule, sample: Sample, n_components: int, labels: NDArray[np.int64]) -> Any:
    """Return the start from a partition, its components in the order of their means."""
    means = means_of(sample.centred, sample.weight, labels, n_components)
    rank = np.empty(n_components, np.int64)
    rank[in_order(means)] = np.arange(n_components)
    density = sample.family.isotropic(np.repeat(sample.middle[None], n_components, axis=0), 1.0)
    assignment = {"mode": kernels.LABELLED, "labels": rank[labels]}
    return first_state(rule, sample, density, assignment, sample.points, sample.weight, True)


def _best_short_fit(rule: Rule, sample: Sample, n_components: int, random_state: Any) -> Any:
    """Return where the best of several short fits ended: emEM (Biernacki, Celeux and Govaert 2003)."""
    if short_fits.pays(rule, sample, n_components):
        before = random_state.bit_generator.state
        state = _best_at_once(rule, sample, n_components, random_state)
        if state is not None:
            return state
        # One by one they say what is wrong.
        random_state.bit_generator.state = before
    begins = [lambda: seed(rule, sample, n_components, random_state, _SHORT_FIT_START)] * SHORT_FITS
    return best_short_fit(rule, sample, begins)


def _best_at_once(rule: Any, sample: Sample, n_components: int, random_state: Any) -> Any:
    """Return where the best of the short fits ended, all of which are made at once; None where all failed."""
    look = _points(sample, len(sample.points), random_state)
    points, weight, middle, _, spread = look
    seeds = [int(random_state.uniform() * 2**53) for _ in range(SHORT_FITS)]
    centres = [
        _centres(sample, look, n_components, drawn, np.random.default_rng(drawn), _SHORT_FIT_START) for drawn in seeds
    ]
    rows = short_fits.Few(points, weight, middle, max(spread, _NARROWEST))
    fits = short_fits.ShortFits(rule, rows, np.stack(centres), _SHORT_FIT_UPDATES, sample.n_threads)
    return fits.best(sample.effective_rows)


def best_short_fit(rule: Rule, source: Source, begins: Sequence[Callable[[], Any]]) -> Any:
    """Return the state that the best of several short fits to a source ends in, of which each begins as one says.

    All make the same number of updates. One with a spurious component wins only where all have one. Those that collapse
    are left out; the first one's error is raised if all do.
    """
    n_rows = source.effective_rows
    best: FitResult | None = None
    highest = False, -np.inf
    failed: list[CollapsedComponentError] = []
    for begin in begins:
        try:
            result = fit_loop(rule, source, begin(), tol=0.0, max_iter=_SHORT_FIT_UPDATES)
        except CollapsedComponentError as error:
            failed.append(error)
            continue
        rank = rule.spurious(result.state, n_rows) < 0, result.bound
        if np.isfinite(result.bound) and rank > highest:
            best, highest = result, rank
    if best is None:
        raise failed[0] if failed else OutOfRangeError
    return best.state


# How each method finds a state, on how many rows, and at least on how many for each component.
_ON_A_SAMPLE: dict[str, tuple[Callable[..., Any], int, int]] = {
    "kmeans-whitened": (_whitened, WHITENED_ROWS, SAMPLE_ROWS_PER_COMPONENT),
    "agglomerative": (_agglomerated, _AGGLOMERATED_ROWS, _AGGLOMERATED_ROWS_PER_COMPONENT),
    "short-em": (_best_short_fit, SHORT_FIT_ROWS, SAMPLE_ROWS_PER_COMPONENT),
}


def _smoothed(
    family: Family,
    statistics: SufficientStatistics,
    density: Density,
    points: Array,
    weight: Array,
    labels: NDArray[np.int64],
) -> SufficientStatistics:
    origin, mass, deviation, scatter = (
        array.copy() for array in (statistics.origin, statistics.mass, statistics.deviation, statistics.scatter)
    )
    smooth_thin(density, origin, mass, deviation, scatter, points, weight, labels)
    return SufficientStatistics(origin, mass, deviation, scatter, statistics.log_evidence, float(mass.sum()))
