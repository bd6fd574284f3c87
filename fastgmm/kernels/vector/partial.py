"""Vector code for squared distances that are given up as soon as they are too large to matter.

Squared distances are sums of squares over features, and only grow, in floating point as well: rounding is monotone. So
a partial sum beyond a limit proves that the whole one is. The limit of a row and a component is the sum of one number
each; a chunk of columns is given up when all its rows are beyond theirs. What is not given up is what
:mod:`fastgmm.kernels.vector.distances` computes, the same numbers added in the same order.

All numbers are float64. Each function exists twice, as there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from fastgmm.kernels.compiling import LANES, kernel
from fastgmm.kernels.vector.code import FEW, HALVES, ROWS, VECTORS, index, vector_function
from fastgmm.kernels.vector.distances import add_squares, few_whitened, store_squares, whitened_block

#: Columns of a chunk: of what is given up at once.
CHUNK = VECTORS * LANES
#: Limits are widened by this much of their terms and of their sum: far more than the rounding errors of what they are
#: compared with, which are a few units of 2**-53.
WIDER = 2.0**-46
_WIDER_SUM = 1.0 + 2.0**-48
# Features after which a distance that is a plain sum of squares is compared with its limit.
_STEP = 16
#: A row whose squared distance from its nearest component is larger has no limits: where distances are so large, even a
#: responsibility of 2**-60 times one could be seen.
FAR = 2.0**20
_NO_LIMIT = 1440.0

_BIT = ir.IntType(1)


class Candidates(NamedTuple):
    """Components that may be live in a tile, in slots.

    `listed` (K,) int64: the component of each slot; `slots` (K,) int64: those that are meant, in an order of theirs;
    `distance` (K, T): a row for each slot; ``live[slot, chunk]`` (K, T / CHUNK) uint8; `reached` (T,): the smallest of
    the finished distances of each row less ``Limits.twice``, widened against rounding.
    """

    listed: Any
    slots: Any
    distance: Any
    live: Any
    reached: Any


class Limits(NamedTuple):
    """`twice` (K,) the log scale; `limit` (K,), how far above it a distance matters; `highest`, the largest of `twice`.

    A distance from component k does not matter to a row where it is above ``limit[k] + reached``.
    """

    twice: Any
    limit: Any
    highest: Any


class _Chunk:
    """A chunk of columns of one slot: partial `sums` of squares, which are `alive` until they are given up."""

    def __init__(self, code, at, at_reached, limit, at_scale):
        builder = code.builder
        self._code, self._at, self._reached, self._scale = code, at, at_reached, at_scale
        self.sums = code.accumulators(VECTORS)
        self._bounds = []
        for v, total in enumerate(self.sums):
            builder.store(code.load(code.at(at, v * LANES)), total)
            reached = code.load(code.at(at_reached, v * LANES))
            self._bounds.append(builder.fmul(builder.fadd(limit, reached), code.constant(_WIDER_SUM)))
        self.alive = cgutils.alloca_once(builder, _BIT)
        builder.store(builder.not_(self.are_beyond()), self.alive)

    def are_beyond(self):
        """Return whether the sums of all columns are beyond their bounds."""
        code, builder = self._code, self._code.builder
        weight = None if self._scale is None else code.splat(self._scale)
        beyond = None
        for total, bound in zip(self.sums, self._bounds, strict=True):
            value = builder.load(total)
            if weight is not None:
                value = builder.fmul(builder.fmul(value, weight), weight)
            lanes = builder.fcmp_ordered(">", value, bound)
            beyond = lanes if beyond is None else builder.and_(beyond, lanes)
        bits = ir.IntType(LANES)
        return builder.icmp_unsigned("==", builder.bitcast(beyond, bits), ir.Constant(bits, 2**LANES - 1))

    def give_up_beyond(self, parts):
        """Leave the loop `parts` where all sums are beyond."""
        with self._code.builder.if_then(self.are_beyond()):
            self._code.builder.store(ir.Constant(_BIT, 0), self.alive)
            parts.do_break()

    def finish(self, twice, highest):
        """Store the squared distances, and lower what rows have reached: -2 log joint, widened."""
        code, builder = self._code, self._code.builder
        store_squares(code, self.sums, self._scale, self._at)
        kind = ir.FunctionType(code.type, [code.type])
        absolute = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fabs.v{LANES}f64")
        for v in range(VECTORS):
            value = builder.fsub(code.load(code.at(self._at, v * LANES)), twice)
            distance = builder.fadd(value, code.copies(highest))
            far = builder.fcmp_ordered(">", distance, code.constant(FAR))
            value = code.multiply_add(builder.call(absolute, [value]), code.constant(WIDER), value)
            value = builder.select(far, builder.fadd(value, code.constant(_NO_LIMIT)), value)
            old = code.load(code.at(self._reached, v * LANES))
            lower = builder.fcmp_ordered("<", value, old)
            code.store(builder.select(lower, value, old), code.at(self._reached, v * LANES))


def _finish(code, x, n, candidates, n_slots, limits, advance, scale=None):
    """Give up the chunks of slots, or finish them by ``advance(k, at_x, chunk)``.

    `scale` (K,) is what the differences of a component are multiplied by at the end, None for nothing.
    """
    builder, n_chunks = code.builder, code.chunks(n)
    with code.loop(n_slots) as each:
        slot = builder.load(code.at(candidates.slots.data, each.index))
        k = builder.load(code.at(candidates.listed.data, slot))
        limit, twice = (code.splat(code.at(numbers.data, k)) for numbers in (limits.limit, limits.twice))
        at_scale = None if scale is None else code.at(scale.data, k)
        with code.loop(n_chunks) as chunks:
            place = builder.mul(chunks.index, index(CHUNK))
            at = code.at(candidates.distance.data, (slot, candidates.distance.shape[1]), place)
            chunk = _Chunk(code, at, code.at(candidates.reached.data, place), limit, at_scale)
            with builder.if_then(builder.load(chunk.alive)):
                advance(k, code.at(x.data, place), chunk)
            is_alive = builder.load(chunk.alive)
            live = code.at(candidates.live.data, (slot, candidates.live.shape[1]), chunks.index)
            builder.store(builder.zext(is_alive, ir.IntType(8)), live)
            with builder.if_then(is_alive):
                chunk.finish(twice, limits.highest)


@kernel
def first_whitened(n_features):
    """Return after how many features whitened distances are compared with their limits for the first time."""
    return n_features if n_features <= FEW else ROWS


def begin_whitened(whitener, mean, x, n, listed, begin, end, first, distance):
    """Overwrite rows begin .. end of `distance` with the sums of the first `first` squares of whitened distances.

    Row s is of component ``listed[s]``. `first` is what :func:`first_whitened` returns; the other arguments are those
    of :func:`fastgmm.kernels.vector.distances.whitened_distances`.
    """
    for s in range(begin, end):
        k = listed[s]
        whitened = np.tril(whitener[k])[:first] @ (x[:, :n] - mean[k][:, None])
        distance[s, n:] = 0.0
        distance[s, :n] = (whitened**2).sum(axis=0)


@vector_function(begin_whitened, like="x")
def _begin_whitened(code, whitener, mean, x, n, listed, begin, end, first, distance):
    builder, n_chunks, width, n_features = code.builder, code.chunks(n), x.shape[1], mean.shape[1]

    def blocks(whitener, mean, out):
        with code.loop(n_chunks) as chunks:
            place = builder.mul(chunks.index, index(CHUNK))
            squares = code.accumulators(VECTORS)

            def finish(feature, v, whitened):
                code.add_product(squares[v], whitened, whitened)

            with code.loop(builder.udiv(first, index(ROWS))) as parts:
                start = builder.mul(parts.index, index(ROWS))
                whitened_block(code, whitener, mean, code.at(x.data, place), width, n_features, ROWS, start, finish)
            store_squares(code, squares, None, code.at(out, place))

    with code.loop(end, begin) as slots:
        k = builder.load(code.at(listed.data, slots.index))
        row = builder.mul(k, n_features)
        pointers = code.at(whitener.data, (row, n_features)), code.at(mean.data, row)
        out = code.at(distance.data, (slots.index, width))
        code.choose(
            n_features,
            lambda size: few_whitened(code, *pointers, x.data, width, n_chunks, out, size),
            range(1, FEW + 1),
            lambda: blocks(*pointers, out),
        )


def finish_whitened(whitener, mean, x, n, first, candidates, n_slots, limits):
    """Finish the distances of the slots that ``slots[:n_slots]`` name, or give them up, chunk by chunk of columns.

    `distance` of the :class:`Candidates` holds the sums of the first `first` squares. A chunk is given up where for all
    its rows the sum is beyond the :class:`Limits`; ``live[slot, chunk]`` becomes 0 for it, else 1, and what is finished
    lowers `reached`. Thread-safe.
    """
    for slot in candidates.slots[:n_slots]:
        k = candidates.listed[slot]
        whitened = np.tril(whitener[k]) @ (x[:, :n] - mean[k][:, None])
        _finish_slot((whitened**2).sum(axis=0), slot, n, candidates, limits)


def _finish_slot(squares, slot, n, candidates, limits):
    candidates.live[slot] = 1
    candidates.distance[slot, n:] = 0.0
    candidates.distance[slot, :n] = squares
    value = squares - limits.twice[candidates.listed[slot]]
    wider = value + np.abs(value) * WIDER + np.where(value + limits.highest > FAR, _NO_LIMIT, 0.0)
    candidates.reached[:n] = np.fmin(candidates.reached[:n], wider)


@vector_function(finish_whitened, like="x")
def _finish_whitened(code, whitener, mean, x, n, first, candidates, n_slots, limits):
    builder, width, n_features = code.builder, x.shape[1], mean.shape[1]

    def advance(k, at_x, chunk):
        row = builder.mul(k, n_features)
        pointers = code.at(whitener.data, (row, n_features)), code.at(mean.data, row)

        def finish(feature, v, whitened):
            code.add_product(chunk.sums[v], whitened, whitened)

        def block(size, begin):
            whitened_block(code, *pointers, at_x, width, n_features, size, begin, finish)

        rest = builder.sub(n_features, first)
        with code.loop(builder.udiv(rest, index(ROWS))) as parts:
            block(ROWS, builder.add(first, builder.mul(parts.index, index(ROWS))))
            chunk.give_up_beyond(parts)
        with builder.if_then(builder.load(chunk.alive)):
            begin = cgutils.alloca_once_value(builder, builder.sub(n_features, builder.urem(rest, index(ROWS))))
            for size in HALVES[1:]:
                left = builder.sub(n_features, builder.load(begin))
                with builder.if_then(builder.icmp_signed(">=", left, index(size))):
                    block(size, builder.load(begin))
                    builder.store(builder.add(builder.load(begin), index(size)), begin)

    _finish(code, x, n, candidates, n_slots, limits, advance)


def project(vectors, centre, x, n, listed, begin, end, out):
    """Overwrite rows begin .. end of `out` with products of ``vectors[listed[s]]`` (D,) and the columns of x - centre.

    `vectors` (K, D), C-contiguous; `centre` (D,). Thread-safe.
    """
    for s in range(begin, end):
        out[s, n:] = 0.0
        out[s, :n] = vectors[listed[s]] @ (x[: len(centre), :n] - centre[:, None])


@vector_function(project, like="x")
def _project(code, vectors, centre, x, n, listed, begin, end, out):
    builder, width, (n_features,) = code.builder, x.shape[1], centre.shape

    def block(size, start, place):
        slots = [builder.add(builder.add(begin, start), index(i)) for i in range(size)]
        sums = [code.accumulators(VECTORS) for _ in slots]
        factors = [code.at(vectors.data, (builder.load(code.at(listed.data, slot)), n_features)) for slot in slots]
        with code.loop(n_features) as features:
            row = code.at(code.at(x.data, (features.index, width)), place)
            middle = code.splat(code.at(centre.data, features.index))
            columns = [builder.fsub(code.load(code.at(row, v * LANES)), middle) for v in range(VECTORS)]
            for at_factor, total in zip(factors, sums, strict=True):
                factor = code.splat(code.at(at_factor, features.index))
                for v, column in enumerate(columns):
                    code.add_product(total[v], factor, column)
        for slot, total in zip(slots, sums, strict=True):
            store_squares(code, total, None, code.at(out.data, (slot, width), place))

    with code.loop(code.chunks(n)) as chunks:
        place = builder.mul(chunks.index, index(CHUNK))
        code.by_sizes(builder.sub(end, begin), lambda size, start: block(size, start, place), HALVES)


@kernel
def first_squares(n_features):
    """Return after how many features plain sums of squares are compared with their limits for the first time."""
    return min(n_features, _STEP)


def begin_squares(mean, scale, x, n, listed, begin, end, first, distance):
    """Overwrite rows begin .. end of `distance` with the sums over the first `first` features of squared differences.

    Of scale (x - mean[k]), for a `scale` (K, D); where it is (K,) it counts at the end alone, and None is 1. Row s is
    of component ``listed[s]``. `first` is what :func:`first_squares` returns.
    """
    for s in range(begin, end):
        k = listed[s]
        factor = scale[k][:first, None] if np.ndim(scale) == 2 else 1.0
        distance[s, n:] = 0.0
        distance[s, :n] = (((x[:first, :n] - mean[k][:first, None]) * factor) ** 2).sum(axis=0)


@vector_function(begin_squares, like="x")
def _begin_squares(code, mean, scale, x, n, listed, begin, end, first, distance):
    builder, width = code.builder, x.shape[1]

    def block(size, start, place):
        slots = [builder.add(builder.add(begin, start), index(i)) for i in range(size)]
        components = [builder.load(code.at(listed.data, slot)) for slot in slots]
        sums = [code.accumulators(VECTORS) for _ in slots]
        means, scales = _rows(code, mean, scale, components)
        add_squares(code, means, scales, code.at(x.data, place), width, sums, index(0), first)
        for slot, total in zip(slots, sums, strict=True):
            store_squares(code, total, None, code.at(distance.data, (slot, width), place))

    with code.loop(code.chunks(n)) as chunks:
        place = builder.mul(chunks.index, index(CHUNK))
        code.by_sizes(builder.sub(end, begin), lambda size, start: block(size, start, place), HALVES)


def _rows(code, mean, scale, components):
    """Return pointers to the rows of the means and of the scales of components, None where a scale is no row."""
    n_features = mean.shape[1]
    means = [code.at(mean.data, (k, n_features)) for k in components]
    if scale is None or len(scale.shape) == 1:
        return means, None
    return means, [code.at(scale.data, (k, n_features)) for k in components]


def finish_squares(mean, scale, x, n, first, candidates, n_slots, limits):
    """Do what :func:`finish_whitened` does for squared norms of scale (x - mean): (K, D), (K,) or None for 1."""
    for slot in candidates.slots[:n_slots]:
        k = candidates.listed[slot]
        factor = 1.0 if scale is None else np.reshape(scale[k], (-1, 1))
        scaled = (x[: len(mean[k]), :n] - mean[k][:, None]) * factor
        _finish_slot((scaled**2).sum(axis=0), slot, n, candidates, limits)


@vector_function(finish_squares, like="x")
def _finish_squares(code, mean, scale, x, n, first, candidates, n_slots, limits):
    builder, width, n_features = code.builder, x.shape[1], mean.shape[1]

    def advance(k, at_x, chunk):
        means, scales = _rows(code, mean, scale, [k])
        rest = builder.add(builder.sub(n_features, first), index(_STEP - 1))
        with code.loop(builder.udiv(rest, index(_STEP))) as parts:
            begin = builder.add(first, builder.mul(parts.index, index(_STEP)))
            end = code.lesser(builder.add(begin, index(_STEP)), n_features)
            add_squares(code, means, scales, at_x, width, [chunk.sums], begin, end)
            chunk.give_up_beyond(parts)

    by_component = scale is not None and len(scale.shape) == 1
    _finish(code, x, n, candidates, n_slots, limits, advance, scale if by_component else None)
