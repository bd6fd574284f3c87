"""Weighted products of the rows of a tile with few numbers each, added to float64 sums."""

from __future__ import annotations

import numpy as np

from fastgmm.kernels.vector.code import HALVES, index, vector_function


def add_products(x, origin, y, r, n, tile_mass, products):
    """Add to products[k, q] the columns of the tile about origin[k], weighted by r[k] times row k Q + q of `y`.

    Tile `x` (D, T), `origin` (K, D), `y` (K Q, T), `r` (K, T), `products` (K, Q, D) float64 and C-contiguous.
    Components whose `tile_mass` (K,) is 0 are passed over; r is 0 from column n to the end of its chunk. Thread-safe.
    """
    n_factors = products.shape[1]
    for k in np.flatnonzero(tile_mass):
        weighted = r[k, :n] * y[k * n_factors : (k + 1) * n_factors, :n]
        products[k] += weighted @ (x[:, :n] - origin[k][:, None]).T


@vector_function(add_products, like="x")
def _add_products(code, x, origin, y, r, n, tile_mass, products):
    builder, n_chunks, width = code.builder, code.chunks(n), x.shape[1]
    n_components, n_factors, n_features = products.shape

    def features(k, size, begin):
        rows = [code.at(x.data, (builder.add(begin, index(i)), width)) for i in range(size)]
        centres = [code.splat(code.at(origin.data, (k, n_features), begin, i)) for i in range(size)]

        def factors(number, first):
            places_of = [builder.add(builder.add(builder.mul(k, n_factors), first), index(i)) for i in range(number)]
            sums = [code.accumulators(size) for _ in places_of]
            with code.columns(n_chunks, 1) as places:
                for place in places:
                    weight = code.load(code.at(r.data, (k, width), place))
                    values = [code.load(code.at(y.data, (each, width), place)) for each in places_of]
                    weighted = [builder.fmul(weight, value) for value in values]
                    for i in range(size):
                        centred = builder.fsub(code.load(code.at(rows[i], place)), centres[i])
                        for accumulators, value in zip(sums, weighted, strict=True):
                            code.add_product(accumulators[i], value, centred)
            code.add_sums(
                [
                    (code.at(products.data, (each, n_features), begin), accumulators)
                    for each, accumulators in zip(places_of, sums, strict=True)
                ]
            )

        code.by_sizes(n_factors, factors, (3, 2, 1))

    with code.loop(n_components) as components:
        k = components.index
        with code.unless_zero(code.at(tile_mass.data, k)):
            code.by_sizes(n_features, lambda size, begin: features(k, size, begin), HALVES)
