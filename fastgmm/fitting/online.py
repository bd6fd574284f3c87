"""Learning batch by batch: what is kept of the rows between batches, and how the next batch comes in.

Two records of the past. A ``Stream`` sees each batch once: its statistics stand for all rows seen, of which recent ones
count more (stepwise EM, Cappe and Moulines 2009; for variational Bayes that is stochastic variational inference,
Hoffman et al. 2013, since posterior = prior + statistics). A ``Memo`` keeps the statistics of every batch, and replaces
those of a batch that comes again (incremental EM, Neal and Hinton 1998; memoised inference, Hughes and Sudderth 2013).
Both never change: a batch makes a new one, so that a batch that fails leaves all as it was.

Statistics are about fixed points, and responsibilities of old batches are about old components: moved to one origin
they add up exactly. Only ``+`` and scaling are needed, never a difference.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from fastgmm.families import Family
from fastgmm.fitting.plain import FitResult, Rule, updated
from fastgmm.fitting.stopping import has_converged
from fastgmm.kernels import Density
from fastgmm.rules import expected_log_joint
from fastgmm.sources import Source
from fastgmm.statistics import Array, SufficientStatistics
from fastgmm.support.showing import shown

# How many bounds at the ends of rounds a stopping rule looks at.
_WATCHED = 3


class Schedule(NamedTuple):
    """How much batches count, and when a memo has converged: parameters of the estimators by their names."""

    learning_decay: float
    learning_offset: float
    total_samples: float | None
    stopping: str
    tol: float


class Batch(NamedTuple):
    """A batch under the density that it was seen with: its key (None for none), statistics and number of rows."""

    key: Hashable
    density: Density
    statistics: SufficientStatistics
    n_samples: int


def share(weight: float, before: float, unit: float, schedule: Schedule) -> float:
    """Return g, the share in the statistics of a batch of `weight` after rows of the weight `before`.

    g = (weight / unit) (t + learning_offset)^-learning_decay, at most 1, where t = (before + weight) / unit counts time
    in batches like the first, of the weight `unit`. For batches of one weight that is Robbins and Monro's schedule.
    """
    if before == 0.0:
        return 1.0
    time = before / unit + weight / unit
    return min(1.0, weight / unit * (time + schedule.learning_offset) ** -schedule.learning_decay)


@dataclass(frozen=True, eq=False)
class Stream:
    """Batches that are seen once.

    Attributes
    ----------
    statistics : SufficientStatistics
        Scaled to the weight of all rows seen; recent rows count more.
    unit : float
        The weight of the first batch, or of the fit before; 0 where there was none.
    exponent : int
        Weights are divided by two to this power.
    n_batches, n_samples : int
    density : Density or None
        What the next batch is seen with, components in the order of the statistics; None: the fitted attributes.
    """

    statistics: SufficientStatistics
    unit: float
    exponent: int
    n_batches: int
    n_samples: int
    density: Density | None = None

    converged = False

    def joined(self, family: Family, batch: Batch, schedule: Schedule) -> Stream:
        """Return the stream after a batch."""
        past, present = self.recentred(family, batch.statistics.origin).statistics, batch.statistics
        unit = self.unit or present.weight
        seen = past.weight + present.weight
        g = share(present.weight, past.weight, unit, schedule)
        statistics = (g * seen / present.weight) * present
        if g < 1.0:
            statistics = statistics + ((1.0 - g) * seen / past.weight) * past
        return Stream(statistics, unit, self.exponent, self.n_batches + 1, self.n_samples + batch.n_samples)

    def recentred(self, family: Family, origin: Array) -> Stream:
        """Return the same about another origin."""
        return replace(self, statistics=family.recentre(self.statistics, origin))

    def total(self, schedule: Schedule) -> SufficientStatistics:
        """Return the statistics of the next parameters: of `total_samples` rows, or as many as were seen."""
        if schedule.total_samples is None:
            return self.statistics
        return (schedule.total_samples / self.statistics.weight) * self.statistics

    def concluded(self, rule: Rule, state: Any, density: Density, schedule: Schedule) -> tuple[Stream, float]:
        """Return the stream with the density for the next batch, and its bound.

        The mean over the rows seen of what the bound was when they came, those that count more more; hence of rows
        that the parameters had not seen.
        """
        return replace(self, density=density), rule.bound(state, self.total(schedule))


@dataclass(frozen=True, eq=False)
class Record:
    """The record of a batch: its statistics, the entropy of its responsibilities (weight * nat), how many rows.

    `round` is that of its last visit. ``+`` makes the record of several batches, with the earliest round.
    """

    statistics: SufficientStatistics
    entropy: float
    n_samples: int
    round: int

    def __add__(self, other: Record) -> Record:
        """Return the record of both batches together."""
        return Record(
            self.statistics + other.statistics,
            self.entropy + other.entropy,
            self.n_samples + other.n_samples,
            min(self.round, other.round),
        )


Nodes = tuple[Record | None, ...]


def tree(leaves: Sequence[Record]) -> Nodes:
    """Return the sums of neighbours, of their neighbours, and so on up to the whole, as a heap.

    Node i is the sum of nodes 2 i and 2 i + 1, node 1 that of all, and the leaves come last; nodes of nothing are None.
    """
    half = 1 << (len(leaves) - 1).bit_length()
    nodes: list[Record | None] = [None] * half + [*leaves] + [None] * (half - len(leaves))
    for node in range(half - 1, 0, -1):
        nodes[node] = _joined(nodes, node)
    return tuple(nodes)


def with_leaf(nodes: Nodes, place: int, leaf: Record) -> Nodes:
    """Return the tree with another record at a place, or one more at its end: the sums above alone are new."""
    half = len(nodes) // 2
    if place == half:
        return tree([*nodes[half:], leaf])  # type: ignore[list-item]
    changed = list(nodes)
    node = half + place
    changed[node] = leaf
    while node > 1:
        node //= 2
        changed[node] = _joined(changed, node)
    return tuple(changed)


def _joined(nodes: Sequence[Record | None], node: int) -> Record | None:
    left, right = nodes[2 * node], nodes[2 * node + 1]
    return left if right is None else left + right  # type: ignore[operator]


@dataclass(frozen=True, eq=False)
class Memo:
    """Batches that may be seen again: the statistics of each when it was seen last.

    Attributes
    ----------
    places : dict
        The place of each batch's record, by its key.
    nodes : tree of Record, all about one origin
    exponent : int
        Weights are divided by two to this power.
    n_batches : int
        Visits of batches.
    round : int
        The number of rounds of visits to all batches that have begun.
    n_left : int
        Batches that were not visited yet in this round; a new batch ends it.
    bounds : tuple of float
        The bound after the last new batch, and those at the ends of rounds since: the last few.
    converged : bool
        Whether the last round changed the bound by less than the tolerance.
    density : Density or None
        What the next batch is seen with, components in the order of the statistics; None: the fitted attributes.
    """

    places: dict[Hashable, int]
    nodes: Nodes
    exponent: int
    n_batches: int = 0
    round: int = 0
    n_left: int = 0
    bounds: tuple[float, ...] = ()
    converged: bool = False
    density: Density | None = None

    @property
    def n_samples(self) -> int:
        """The number of rows of all batches."""
        return 0 if not self.places else self._whole.n_samples

    @property
    def _whole(self) -> Record:
        whole = self.nodes[1]
        assert whole is not None  # a memo is kept after its first batch
        return whole

    def joined(self, family: Family, batch: Batch, schedule: Schedule) -> Memo:
        """Return the memo with the batch in place of itself as it was seen last."""
        statistics = batch.statistics
        entropy = statistics.log_evidence - expected_log_joint(batch.density, statistics)
        if self.places:
            statistics = family.recentre(statistics, self._whole.statistics.origin)
        place = self.places.get(batch.key)
        if place is None:
            record = Record(statistics, entropy, batch.n_samples, self.round)
            place = len(self.places)
            nodes = with_leaf(self.nodes, place, record) if self.places else tree([record])
            changes: dict[str, Any] = {
                "places": self.places | {batch.key: place},
                "nodes": nodes,
                "n_left": 0,
                "bounds": (),
                "converged": False,
            }
        else:
            begins = self.n_left == 0
            number = self.round + begins
            left = len(self.places) if begins else self.n_left
            before = self.nodes[len(self.nodes) // 2 + place]
            left -= before.round < number  # type: ignore[union-attr]
            record = Record(statistics, entropy, batch.n_samples, number)
            changes = {"nodes": with_leaf(self.nodes, place, record), "round": number, "n_left": left}
        return replace(self, n_batches=self.n_batches + 1, **changes)

    def recentred(self, family: Family, origin: Array) -> Memo:
        """Return the same about another origin: work in proportion to the number of batches."""
        if not self.places:
            return self
        half = len(self.nodes) // 2
        leaves = [
            replace(leaf, statistics=family.recentre(leaf.statistics, origin))
            for leaf in self.nodes[half:]
            if leaf is not None
        ]
        return replace(self, nodes=tree(leaves))

    def total(self, schedule: Schedule) -> SufficientStatistics:
        """Return the statistics of the next parameters: of all batches, each as it was seen last."""
        return self._whole.statistics

    def concluded(self, rule: Rule, state: Any, density: Density, schedule: Schedule) -> tuple[Memo, float]:
        """Return the memo with the density for the next batch, and its bound.

        That is the bound with every row's responsibilities as they were when it was seen last: neither a visit nor an
        update lowers it. At the end of a round records move to the present means, so that digits last.
        """
        whole = self._whole
        log_evidence = expected_log_joint(density, whole.statistics) + whole.entropy
        bound = rule.bound(state, replace(whole.statistics, log_evidence=log_evidence))
        if self.n_left:
            return replace(self, density=density), bound
        bounds = (*self.bounds, bound)[-_WATCHED:]
        converged = has_converged(schedule.stopping, bounds, schedule.tol)
        # Not after every new batch, of which there may be many.
        memo = self.recentred(rule.family, density.mean) if self.bounds else self
        return replace(memo, density=density, bounds=bounds, converged=converged), bound


@dataclass(frozen=True, eq=False)
class Learned(FitResult):
    """Where a batch led to: the state with its bound, and the record of all batches."""

    record: Stream | Memo | None = None

    @property
    def stop_reason(self) -> str:
        """Why there is no more to learn, "converged", or that there may be, "partial_fit"."""
        return "converged" if self.converged else "partial_fit"


def after_fit(result: FitResult, exponent: int, n_samples: int) -> Stream | None:
    """Return the record of a fit, which counts as a first batch; None where parameters were given."""
    statistics = result.statistics
    return None if statistics is None else Stream(statistics, statistics.weight, exponent, 1, n_samples)


def check_key(key: Any) -> None:
    """TypeError unless the key of a batch is hashable; ValueError where it is not equal to itself, as NaN."""
    try:
        hash(key)
    except TypeError as error:
        raise TypeError(f"batch must be hashable, a number or a name for example, got {shown(key)}") from error
    if key != key:
        raise ValueError(f"batch must be equal to itself, got {shown(key)}")


def goes_on_from(learned: Stream | Memo | None, key: Hashable, family: Family, origin: Array, exponent: int) -> Any:
    """Return the record that a batch of the given key (None for none) joins.

    The statistics of a fit are the first of a stream, but not in a memo: its batches may be of the same rows.
    ValueError where batches before had no keys and this one has, or the other way round.
    """
    if key is None and not isinstance(learned, Memo):
        return learned or Stream(family.zero(origin), 0.0, exponent, 0, 0)
    if isinstance(learned, Memo) or learned is None or learned.density is None:
        if key is None:
            raise ValueError(
                "batch must name this batch, because those before were named: their statistics are kept. To learn "
                "without names, start with a clone or another fit."
            )
        return learned if isinstance(learned, Memo) else Memo({}, (), exponent)
    raise ValueError(
        f"batch must be None, because batches before were not named, got {shown(key)}: their statistics cannot be told "
        "apart any more. To learn with names, start with a clone or another fit."
    )


def begin(rule: Rule, result: FitResult, exponent: int, n_samples: int, schedule: Schedule, key: Hashable) -> Learned:
    """Return where the first batch led to, which was fitted as a whole."""
    statistics, density = result.statistics, rule.density(result.state)
    assert statistics is not None  # of a fit
    past = goes_on_from(None, key, rule.family, density.mean, exponent)
    record = past.joined(rule.family, Batch(key, density, statistics, n_samples), schedule)
    total = record.total(schedule)
    if total.weight == statistics.weight:
        return _learned(rule, result.state, density, record, schedule)
    state = rule.update(total, density, final=True)
    return _learned(rule, state, _as_in(total, rule, state), record, schedule)


def learn(rule: Rule, source: Source, past: Stream | Memo, density: Density, schedule: Schedule, key: Any) -> Learned:
    """Return where one more batch, the rows of the source, leads to: a pass with `density` and an update.

    `past` is from `goes_on_from`; nothing that is given changes.
    """
    record = past

    def collect(origin: Array | None = None) -> SufficientStatistics:
        nonlocal record
        batch = Batch(key, density, source.collect(density, origin), source.rows.n_rows)
        before = past if origin is None else past.recentred(rule.family, origin)
        record = before.joined(rule.family, batch, schedule)
        return record.total(schedule)

    state = updated(rule, collect, collect(), density)
    return _learned(rule, state, _as_in(record.total(schedule), rule, state), record, schedule)


def _as_in(statistics: SufficientStatistics, rule: Rule, state: Any) -> Density:
    """Return the density of a state with the components in the order of the statistics that it was made of."""
    density: Density = rule.density(state)
    order = rule.order(statistics)
    if order is None:
        return density
    place = np.argsort(order)
    whitener = rule.family.select(density.whitener, place)
    return type(density)(density.log_scale[place], density.mean[place], whitener)


def _learned(rule: Rule, state: Any, density: Density, record: Stream | Memo, schedule: Schedule) -> Learned:
    record, bound = record.concluded(rule, state, density, schedule)
    n = record.n_batches
    return Learned(state, bound, [bound], (), n, record.converged, n, record=record)
