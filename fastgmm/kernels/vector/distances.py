"""Squared distances of the rows of a tile from components, and what they are whitened with."""

from __future__ import annotations

import numpy as np

from fastgmm.kernels.vector.code import FEW, HALVES, VECTORS, index, vector_function


def few_whitened(code, whitener, mean, x, width, n_chunks, out, size):
    """Write squared norms of whitener (x - mean) to `out` with all of `size` features in registers."""
    builder = code.builder
    entries = [(i, j) for i in range(size) for j in range(i + 1)]
    weights = {(i, j): code.splat(code.at(whitener, i * size + j)) for i, j in entries}
    centres = [code.splat(code.at(mean, i)) for i in range(size)]
    with code.columns(n_chunks) as places:
        for place in places:
            centred = [
                builder.fsub(code.load(code.at(x, (index(i), width), place)), centre)
                for i, centre in enumerate(centres)
            ]
            square = None
            for i in range(size):
                whitened = builder.fmul(weights[i, 0], centred[0])
                for j in range(1, i + 1):
                    whitened = code.multiply_add(weights[i, j], centred[j], whitened)
                square = (
                    builder.fmul(whitened, whitened)
                    if square is None
                    else code.multiply_add(whitened, whitened, square)
                )
            code.store(square, code.at(out, place))


def whitened_block(code, whitener, mean, x, width, n_features, size, begin, finish):
    """Whiten a chunk of columns, features `begin` .. of `size`; ``finish(feature, v, vector)`` gets the results."""
    builder = code.builder

    def centred(feature):
        centre = code.splat(code.at(mean, feature))
        row = code.at(x, (feature, width))
        return [builder.fsub(code.load(code.at(row, v * code.lanes)), centre) for v in range(VECTORS)]

    rows = [code.at(whitener, (builder.add(begin, index(r)), n_features)) for r in range(size)]
    products = [code.accumulators(VECTORS) for _ in range(size)]

    def add(vectors, feature, r):
        weight = code.splat(code.at(rows[r], feature))
        for product, vector in zip(products[r], vectors, strict=True):
            code.add_product(product, weight, vector)

    with code.loop(begin) as features:
        vectors = centred(features.index)
        for r in range(size):
            add(vectors, features.index, r)
    # The triangle on the diagonal.
    for c in range(size):
        feature = builder.add(begin, index(c))
        vectors = centred(feature)
        for r in range(c, size):
            add(vectors, feature, r)
        for v in range(VECTORS):
            finish(feature, v, builder.load(products[c][v]))


def _whiten_chunks(code, whitener, mean, x, width, n_features, n_chunks, out, keep):
    """Whiten chunks of columns, all by pointers: to rows of `out` if `keep`, else to their squared norms."""
    builder = code.builder
    with code.loop(n_chunks) as chunks:
        first = builder.mul(chunks.index, index(VECTORS * code.lanes))
        at_x, at_out = code.at(x, first), code.at(out, first)
        squares = code.accumulators(VECTORS)

        def finish(feature, v, whitened):
            if keep:
                code.store(whitened, code.at(at_out, (feature, width), v * code.lanes))
            else:
                code.add_product(squares[v], whitened, whitened)

        def block(size, begin):
            whitened_block(code, whitener, mean, at_x, width, n_features, size, begin, finish)

        code.by_sizes(n_features, block, HALVES)
        if not keep:
            store_squares(code, squares, None, at_out)


def whiten_tile(whitener, mean, x, n, out):
    """Overwrite the first n columns and D rows of `out`, as wide as x, with whitener (x - mean).

    `whitener` (D, D) C-contiguous lower triangular, `mean` (D,), tile `x` (D, T). Thread-safe.
    """
    out[: len(mean), :n] = np.tril(whitener) @ (x[:, :n] - mean[:, None])


@vector_function(whiten_tile, like="x")
def _whiten_tile(code, whitener, mean, x, n, out):
    (n_features,), width = mean.shape, x.shape[1]
    _whiten_chunks(code, whitener.data, mean.data, x.data, width, n_features, code.chunks(n), out.data, keep=True)


def whitened_distances(whitener, mean, x, n, distance):
    """Overwrite distance[k, :n] with the squared norms of whitener[k] (x - mean[k]) for the columns of the tile.

    `whitener` (K, D, D) C-contiguous lower triangular, `mean` (K, D), tile `x` (D, T), `distance` (K, T). Thread-safe.
    """
    for k in range(len(mean)):
        distance[k, :n] = ((np.tril(whitener[k]) @ (x[:, :n] - mean[k][:, None])) ** 2).sum(axis=0)


@vector_function(whitened_distances, like="x")
def _whitened_distances(code, whitener, mean, x, n, distance):
    builder, n_chunks, width = code.builder, code.chunks(n), x.shape[1]
    n_components, n_features = mean.shape
    with code.loop(n_components) as components:
        k = components.index
        row = builder.mul(k, n_features)
        pointers = code.at(whitener.data, (row, n_features)), code.at(mean.data, row)
        out = code.at(distance.data, (k, width))
        code.choose(
            n_features,
            lambda size: few_whitened(code, *pointers, x.data, width, n_chunks, out, size),
            range(1, FEW + 1),
            lambda: _whiten_chunks(code, *pointers, x.data, width, n_features, n_chunks, out, keep=False),
        )


def add_squares(code, means, scales, x, width, sums, begin, end):
    """Add squared differences of a chunk of columns from components in features `begin` .. `end` to their sums.

    `means` and `scales` are pointers to the components' rows; None: differences are not scaled.
    """
    builder = code.builder
    with code.loop(end, begin) as features:
        row = code.at(x, (features.index, width))
        vectors = [code.load(code.at(row, v * code.lanes)) for v in range(VECTORS)]
        for i, total in enumerate(sums):
            centre = code.splat(code.at(means[i], features.index))
            differences = [builder.fsub(vector, centre) for vector in vectors]
            if scales is not None:
                weight = code.splat(code.at(scales[i], features.index))
                differences = [builder.fmul(difference, weight) for difference in differences]
            for v, difference in enumerate(differences):
                code.add_product(total[v], difference, difference)


def store_squares(code, total, scale, out):
    """Store sums of squares, times the square of the number that `scale` points to unless that is None."""
    values = [code.builder.load(each) for each in total]
    if scale is not None:
        weight = code.splat(scale)
        values = [code.builder.fmul(code.builder.fmul(value, weight), weight) for value in values]
    for v, value in enumerate(values):
        code.store(value, code.at(out, v * code.lanes))


def _squares(code, mean, scale, x, n, distance):
    """Write squared distances of the columns of a tile from all components.

    `scale` is what differences are multiplied by: (K, D), a number for each component and feature, (K,), one for each
    component, or None.
    """
    builder, (n_components, n_features), width = code.builder, mean.shape, x.shape[1]
    by_feature, by_component = (scale is not None and len(scale.shape) == axes for axes in (2, 1))

    def block(size, begin, first):
        components = [builder.add(begin, index(i)) for i in range(size)]
        sums = [code.accumulators(VECTORS) for _ in components]
        means = [code.at(mean.data, (k, n_features)) for k in components]
        scales = [code.at(scale.data, (k, n_features)) for k in components] if by_feature else None
        add_squares(code, means, scales, code.at(x.data, first), width, sums, index(0), n_features)
        for k, total in zip(components, sums, strict=True):
            at = code.at(distance.data, (k, width), first)
            store_squares(code, total, code.at(scale.data, k) if by_component else None, at)

    with code.loop(code.chunks(n)) as chunks:
        first = builder.mul(chunks.index, index(VECTORS * code.lanes))
        code.by_sizes(n_components, lambda size, begin: block(size, begin, first), HALVES)


def square_distances(mean, x, n, distance):
    """Overwrite distance[k, :n] with the squared norms of x - mean[k] for the columns of the tile.

    `mean` (K, D), tile `x` (D, T), `distance` (K, T). Thread-safe.
    """
    scaled_distances(mean, np.ones(len(mean)), x, n, distance)


@vector_function(square_distances, like="x")
def _square_distances(code, mean, x, n, distance):
    _squares(code, mean, None, x, n, distance)


def scaled_distances(mean, scale, x, n, distance):
    """Overwrite distance[k, :n] with the squared norms of scale (x - mean[k]) for the columns of the tile.

    `scale` (K, D) or (K,); the rest is as for :func:`square_distances`. Thread-safe.
    """
    for k in range(len(mean)):
        scaled = (x[:, :n] - mean[k][:, None]) * np.reshape(scale[k], (-1, 1))
        distance[k, :n] = (scaled**2).sum(axis=0)


vector_function(scaled_distances, like="x")(_squares)
