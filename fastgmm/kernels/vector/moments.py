"""Weighted moments of the rows of a tile, added to float64 sums."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types

from fastgmm.kernels.compiling import kernel
from fastgmm.kernels.vector.code import (
    DOUBLE,
    FLOAT,
    HALVES,
    MOST_SUMS,
    ROWS,
    VECTORS,
    index,
    section,
    vector_function,
)


def _feature_moments(code, x, origin, r, n, tile_mass, deviation, scatter):
    """Add the moments of single features: first ones, and second ones unless `scatter` is None."""
    builder, n_chunks, width = code.builder, code.chunks(n), x.shape[1]
    n_components, n_features = origin.shape

    # Features outside, so that their part of the tile stays in L1 while the responsibilities pass by.
    def block(size, begin):
        rows = [code.at(x.data, (builder.add(begin, index(i)), width)) for i in range(size)]
        with code.loop(n_components) as components:
            k = components.index
            with code.unless_zero(code.at(tile_mass.data, k)):
                entry = (k, n_features), begin
                centres = [code.splat(code.at(origin.data, *entry, i)) for i in range(size)]
                first = code.accumulators(size)
                second = code.accumulators(0 if scatter is None else size)
                with code.columns(n_chunks) as places:
                    for place in places:
                        weight = code.load(code.at(r.data, (k, width), place))
                        for i in range(size):
                            centred = builder.fsub(code.load(code.at(rows[i], place)), centres[i])
                            if scatter is None:
                                code.add_product(first[i], weight, centred)
                            else:
                                weighted = builder.fmul(weight, centred)
                                code.add(first[i], weighted)
                                code.add_product(second[i], weighted, centred)
                code.add_sums([(code.at(deviation.data, *entry), first)])
                if scatter is not None:
                    code.add_sums([(code.at(scatter.data, *entry), second)])

    code.by_sizes(n_features, block, HALVES)


def add_deviations(x, origin, r, n, tile_mass, deviation):
    """Add the first moments of the columns of the tile about `origin` (K, D), weighted by r (K, T), to `deviation`.

    `deviation` (K, D) float64. Components whose `tile_mass` (K,) is 0 are passed over; r is 0 from column n to the end
    of its chunk. Thread-safe.
    """
    for k in np.flatnonzero(tile_mass):
        deviation[k] += (x[:, :n] - origin[k][:, None]) @ r[k, :n]


@vector_function(add_deviations, like="x")
def _add_deviations(code, x, origin, r, n, tile_mass, deviation):
    _feature_moments(code, x, origin, r, n, tile_mass, deviation, None)


def add_variances(x, origin, r, n, tile_mass, deviation, scatter):
    """Add like :func:`add_deviations`, and the second moments of every feature to `scatter` (K, D) float64."""
    add_deviations(x, origin, r, n, tile_mass, deviation)
    for k in np.flatnonzero(tile_mass):
        scatter[k] += (x[:, :n] - origin[k][:, None]) ** 2 @ r[k, :n]


vector_function(add_variances, like="x")(_feature_moments)


def add_weighted_sums(r, values, n, tile_mass, sums):
    """Add to sums (K,) float64 those of r (K, T) times `values` (K, T), both finite to the end of a chunk from n on.

    Components whose `tile_mass` (K,) is 0 are passed over. Thread-safe.
    """
    for k in np.flatnonzero(tile_mass):
        sums[k] += r[k, :n] @ values[k, :n]


@vector_function(add_weighted_sums, like="r")
def _add_weighted_sums(code, r, values, n, tile_mass, sums):
    n_chunks, (n_components, width) = code.chunks(n), r.shape
    with code.loop(n_components) as components:
        k = components.index
        with code.unless_zero(code.at(tile_mass.data, k)):
            # Several in turn: each addition waits for the one before.
            totals = code.accumulators(VECTORS)
            with code.columns(n_chunks) as places:
                for place, total in zip(places, totals, strict=True):
                    weight, value = (code.load(code.at(each.data, (k, width), place)) for each in (r, values))
                    code.add_product(total, weight, value)
            for total in totals[1:]:
                code.add(totals[0], code.builder.load(total))
            code.add_sums([(code.at(sums.data, k), totals[:1])])


def _groups(size):
    """Return ranges (low, high) of the rows of a triangle whose first and second moments fit in registers."""
    bounds, count = [0], 0
    for row in range(size):
        if count + row + 2 > MOST_SUMS:
            bounds.append(row)
            count = 0
        count += row + 2
    return pairwise([*bounds, size])


class _Component(NamedTuple):
    """Pointers to what is one component's."""

    origin: Any
    r: Any
    deviation: Any
    scatter: Any


class _Moments:
    """The moments of the features of a tile, all with all; `v` is what :func:`add_moments` takes it for."""

    def __init__(self, code, x, n_features, n_chunks, v):
        self._code, self._builder = code, code.builder
        self._x, self._width, self._v = x.data, x.shape[1], v.data
        self._n_features, self._n_chunks = n_features, n_chunks

    def _features(self, component, begin, size):
        """Return features `begin` .., where their rows are in the tile, and their centres."""
        code = self._code
        features = [self._builder.add(begin, index(i)) for i in range(size)]
        rows = [code.at(self._x, (feature, self._width)) for feature in features]
        return features, rows, [code.splat(code.at(component.origin, feature)) for feature in features]

    def add_triangle(self, component, size, begin, keep):
        """Add the moments of `size` features among themselves; if `keep`, write r (x - origin) of them to `v`."""
        code, builder = self._code, self._builder
        features, rows, centres = self._features(component, begin, size)
        for low, high in _groups(size):
            # Few sums are added in several places in turn: each addition waits for the one before.
            copies = VECTORS if size <= 2 else 1
            entries = [(i, j) for i in range(low, high) for j in range(i + 1)]
            firsts = [{i: code.accumulators(1)[0] for i in range(low, high)} for _ in range(copies)]
            seconds = [{entry: code.accumulators(1)[0] for entry in entries} for _ in range(copies)]
            with code.columns(self._n_chunks, copies) as places:
                for column, place in enumerate(places):
                    first, second = firsts[column % copies], seconds[column % copies]
                    weight = code.load(code.at(component.r, place))

                    def centred(i, place=place):
                        return builder.fsub(code.load(code.at(rows[i], place)), centres[i])

                    # First what is weighted, then column by column, so that little is alive at a time.
                    weighted = {i: builder.fmul(weight, centred(i)) for i in range(low, high)}
                    for i, value in weighted.items():
                        if keep:
                            code.store(value, code.at(self._v, (index(i), self._width), place))
                        code.add(first[i], value)
                    for j in range(high):
                        other = centred(j)
                        for i in range(max(low, j), high):
                            code.add_product(second[i, j], weighted[i], other)
            for first, second in zip(firsts[1:], seconds[1:], strict=True):
                for i, accumulator in first.items():
                    code.add(firsts[0][i], builder.load(accumulator))
                for entry, accumulator in second.items():
                    code.add(seconds[0][entry], builder.load(accumulator))
            sums = [(code.at(component.deviation, features[i]), [first]) for i, first in firsts[0].items()]
            sums += [
                (code.at(component.scatter, (features[i], self._n_features), features[j]), [second])
                for (i, j), second in seconds[0].items()
            ]
            code.add_sums(sums)

    def add_outer(self, component, begin, size, feature):
        """Add the products of `size` centred features from `feature` on and the rows of `v`."""
        code, builder = self._code, self._builder
        left = [code.at(self._v, (index(i), self._width)) for i in range(ROWS)]
        features, right, centres = self._features(component, feature, size)
        sums = [code.accumulators(ROWS) for _ in features]
        with code.columns(self._n_chunks, 1) as places:
            for place in places:
                weighted = [code.load(code.at(row, place)) for row in left]
                for c, accumulators in enumerate(sums):
                    centred = builder.fsub(code.load(code.at(right[c], place)), centres[c])
                    for accumulator, row in zip(accumulators, weighted, strict=True):
                        code.add_product(accumulator, row, centred)
        code.add_sums(
            [
                (code.at(component.scatter, (feature, self._n_features), begin), accumulators)
                for feature, accumulators in zip(features, sums, strict=True)
            ]
        )

    def add(self, component):
        """Add all moments of a component."""
        code, builder, n_features = self._code, self._builder, self._n_features
        with code.loop(builder.udiv(n_features, index(ROWS))) as blocks:
            begin = builder.mul(blocks.index, index(ROWS))
            self.add_triangle(component, ROWS, begin, keep=True)
            end = builder.add(begin, index(ROWS))

            def outer(size, start):
                self.add_outer(component, begin, size, builder.add(end, start))

            code.by_sizes(builder.sub(n_features, end), outer, (3, 2, 1))
        rest = builder.urem(n_features, index(ROWS))
        begin = builder.sub(n_features, rest)

        def triangle(size):
            self.add_triangle(component, size, begin, keep=False)

        code.choose(rest, triangle, range(1, ROWS), lambda: None)


@kernel
def moments_rows():
    """Return how many rows the scratch of :func:`add_moments` has."""
    return ROWS


def add_moments(x, origin, r, n, tile_mass, v, deviation, scatter):
    """Add first moments of the columns of the tile to `deviation` and second ones, all with all, to `scatter`.

    Arguments are those of :func:`add_deviations`. `scatter` (K, D, D), or (D, D) for the sum over components, is
    float64 and C-contiguous; its lower triangle counts. `v` is a tile_buffer of :func:`moments_rows` rows, scratch.
    """
    add_deviations(x, origin, r, n, tile_mass, deviation)
    for k in np.flatnonzero(tile_mass):
        centred = x[:, :n] - origin[k][:, None]
        target = scatter[k] if scatter.ndim == 3 else scatter
        target += np.tril((r[k, :n] * centred) @ centred.T)


@vector_function(add_moments, like="x")
def _add_moments(code, x, origin, r, n, tile_mass, v, deviation, scatter):
    n_components, n_features = origin.shape
    stride = code.builder.mul(n_features, n_features) if len(scatter.shape) == 3 else index(0)
    moments = _Moments(code, x, n_features, code.chunks(n), v)
    with code.loop(n_components) as components:
        k = components.index
        row = code.builder.mul(k, n_features)
        with code.unless_zero(code.at(tile_mass.data, k)):
            pointers = (
                code.at(origin.data, row),
                code.at(r.data, (k, r.shape[1])),
                code.at(deviation.data, row),
                code.at(scatter.data, (k, stride)),
            )
            moments.add(_Component(*pointers))


def add_rows(X, index, n, middle, factor, component, sums):
    """Add factor[b] times the difference of row index[b] from `middle` to sums[component[b]], for b < n, in order.

    X (N, D) float32 or float64, C-contiguous; `index` and `component` (T,) int64; `middle` (D,), `factor` (T,) and
    `sums` (K, D) float64. Thread-safe.
    """
    for b in range(n):
        sums[component[b]] += factor[b] * (X[index[b]] - middle)


@vector_function(add_rows, like="sums")
def _add_rows(code, X, indices, n, middle, factor, component, sums):
    builder, n_features = code.builder, X.shape[1]
    is_single = X.kind.dtype == types.float32
    with code.loop(n) as rows:
        row, target = (builder.load(code.at(each.data, rows.index)) for each in (indices, component))
        source, target = code.at(X.data, (row, n_features)), code.at(sums.data, (target, n_features))
        factors = code.splat(code.at(factor.data, rows.index))

        def block(size, begin, source=source, target=target, factors=factors):
            kind = ir.VectorType(DOUBLE, size)
            vector = code.load(code.at(source, begin), ir.VectorType(FLOAT if is_single else DOUBLE, size))
            if is_single:
                vector = builder.fpext(vector, kind)
            centred = builder.fsub(vector, code.load(code.at(middle.data, begin), kind))
            total = code.load(code.at(target, begin), kind)
            factors = section(builder, factors, 0, size)
            code.store(code.multiply_add(factors, centred, total), code.at(target, begin))

        code.by_sizes(n_features, block, [size for size in (8, 4, 2, 1) if size <= code.lanes])
