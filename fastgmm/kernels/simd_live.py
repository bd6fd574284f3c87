"""Vector code for squared distances that are given up as soon as they are too large to matter.

Squared distances are sums of squares over features, and only grow, in floating point as well: rounding is monotone. So
a partial sum beyond a limit proves that the whole one is. The limit of a row and a component is the sum of one number
each; a chunk of columns is given up when all its rows are beyond theirs. What is not given up is what
:mod:`fastgmm.kernels.simd` computes, the same numbers added in the same order.

Components are listed: slot s of a list stands for component ``listed[s]``, and row s of `distance` is its. All numbers
are float64. Each function exists twice, as there.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from fastgmm.kernels._compile import LANES, kernel, vector_code
from fastgmm.kernels.simd import (
    _FEW,
    _HALVES,
    _ROWS,
    _VECTORS,
    _chunks,
    _index,
    _made,
    add_squares,
    few_whitened,
    store_squares,
    whitened_block,
)

#: Columns of a chunk: of what is given up at once.
CHUNK = _VECTORS * LANES
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


class Limits:
    """The arguments that every function below passes on, as pointers and values of vector code."""

    def __init__(self, code, twice, limit, highest, reached, distance, width, live, live_width, n_chunks):
        self._code = code
        self._twice, self._limit, self._highest, self._reached = twice, limit, highest, reached
        self._distance, self._width, self._n_chunks = distance, width, n_chunks
        self._live, self._live_width = live, live_width

    def pairs(self, x, listed, slots, n_slots, advance, scale=None):
        """Make code for all chunks of the slots: give up, or finish by ``advance(k, at_x, sums, alive, given_up)``."""
        code, builder = self._code, self._code.builder
        with code.loop(n_slots) as each:
            slot = builder.load(code.at(slots, each.index))
            k = builder.load(code.at(listed, slot))
            limit, twice = code.splat(code.at(self._limit, k)), code.splat(code.at(self._twice, k))
            at_scale = None if scale is None else code.at(scale, k)
            with code.loop(self._n_chunks) as chunks:
                place = builder.mul(chunks.index, _index(CHUNK))
                at = code.at(self._distance, (slot, self._width), place)
                at_reached = code.at(self._reached, place)
                sums = code.accumulators(_VECTORS)
                limits = []
                for v, total in enumerate(sums):
                    builder.store(code.load(code.at(at, v * LANES)), total)
                    reached = code.load(code.at(at_reached, v * LANES))
                    limits.append(builder.fmul(builder.fadd(limit, reached), code.constant(_WIDER_SUM)))

                def given_up(sums=sums, limits=limits, at_scale=at_scale):
                    weight = None if at_scale is None else code.splat(at_scale)
                    beyond = None
                    for total, bound in zip(sums, limits, strict=True):
                        value = builder.load(total)
                        if weight is not None:
                            value = builder.fmul(builder.fmul(value, weight), weight)
                        lanes = builder.fcmp_ordered(">", value, bound)
                        beyond = lanes if beyond is None else builder.and_(beyond, lanes)
                    bits = ir.IntType(LANES)
                    return builder.icmp_unsigned("==", builder.bitcast(beyond, bits), ir.Constant(bits, 2**LANES - 1))

                alive = cgutils.alloca_once(builder, _BIT)
                builder.store(builder.not_(given_up()), alive)
                with builder.if_then(builder.load(alive)):
                    advance(k, code.at(x, place), sums, alive, given_up)
                flag = builder.zext(builder.load(alive), ir.IntType(8))
                builder.store(flag, code.at(self._live, (slot, self._live_width), chunks.index))
                with builder.if_then(builder.load(alive)):
                    store_squares(code, sums, at_scale, at)
                    self._tighten(at, at_reached, twice)

    def _tighten(self, at, at_reached, twice):
        """Lower what rows have reached: the smallest distance - 2 log scale, that is -2 log joint, widened."""
        code, builder = self._code, self._code.builder
        kind = ir.VectorType(code.number, LANES)
        absolute = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(kind, [kind]), f"llvm.fabs.v{LANES}f64"
        )
        for v in range(_VECTORS):
            value = builder.fsub(code.load(code.at(at, v * LANES)), twice)
            distance = builder.fadd(value, self._splat(self._highest))
            far = builder.fcmp_ordered(">", distance, code.constant(FAR))
            value = code.multiply_add(builder.call(absolute, [value]), code.constant(WIDER), value)
            value = builder.select(far, builder.fadd(value, code.constant(_NO_LIMIT)), value)
            old = code.load(code.at(at_reached, v * LANES))
            lower = builder.fcmp_ordered("<", value, old)
            code.store(builder.select(lower, value, old), code.at(at_reached, v * LANES))

    def _splat(self, value):
        vector = self._code.builder.insert_element(
            ir.Constant(self._code.type, ir.Undefined), value, ir.Constant(ir.IntType(32), 0)
        )
        return self._code.builder.shuffle_vector(
            vector, vector, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        )


@intrinsic
def _begin_whitened(
    typing_context, whitener, mean, x, width, n_chunks, n_features, listed, begin, end, first, distance
):
    def generate(code, whiteners, means, x, width, n_chunks, n_features, listed, begin, end, first, distance):
        builder = code.builder

        def blocks(whitener, mean, out):
            with code.loop(n_chunks) as chunks:
                place = builder.mul(chunks.index, _index(CHUNK))
                squares = code.accumulators(_VECTORS)

                def finish(feature, v, whitened):
                    code.add_product(squares[v], whitened, whitened)

                with code.loop(builder.udiv(first, _index(_ROWS))) as parts:
                    start = builder.mul(parts.index, _index(_ROWS))
                    whitened_block(code, whitener, mean, code.at(x, place), width, n_features, _ROWS, start, finish)
                store_squares(code, squares, None, code.at(out, place))

        with code.loop(end, begin) as slots:
            k = builder.load(code.at(listed, slots.index))
            row = builder.mul(k, n_features)
            whitener, mean = code.at(whiteners, (row, n_features)), code.at(means, row)
            out = code.at(distance, (slots.index, width))
            code.choose(
                n_features,
                lambda size: few_whitened(code, whitener, mean, x, width, n_chunks, out, size),
                range(1, _FEW + 1),
                lambda: blocks(whitener, mean, out),
            )

    return _made(generate, x, whitener, mean, x, width, n_chunks, n_features, listed, begin, end, first, distance)


@intrinsic
def _finish_whitened(
    typing_context,
    whitener,
    mean,
    x,
    width,
    n_chunks,
    n_features,
    listed,
    slots,
    n_slots,
    first,
    twice,
    limit,
    highest,
    reached,
    distance,
    live,
    live_width,
):
    def generate(
        code,
        whiteners,
        means,
        x,
        width,
        n_chunks,
        n_features,
        listed,
        slots,
        n_slots,
        first,
        twice,
        limit,
        highest,
        reached,
        distance,
        live,
        live_width,
    ):
        builder = code.builder

        def advance(k, at_x, sums, alive, given_up):
            row = builder.mul(k, n_features)
            whitener, mean = code.at(whiteners, (row, n_features)), code.at(means, row)

            def block(size, begin):
                def finish(feature, v, whitened):
                    code.add_product(sums[v], whitened, whitened)

                whitened_block(code, whitener, mean, at_x, width, n_features, size, begin, finish)

            rest = builder.sub(n_features, first)
            with code.loop(builder.udiv(rest, _index(_ROWS))) as parts:
                block(_ROWS, builder.add(first, builder.mul(parts.index, _index(_ROWS))))
                with builder.if_then(given_up()):
                    builder.store(ir.Constant(_BIT, 0), alive)
                    parts.do_break()
            with builder.if_then(builder.load(alive)):
                begin = cgutils.alloca_once_value(builder, builder.sub(n_features, builder.urem(rest, _index(_ROWS))))
                for size in _HALVES[1:]:
                    left = builder.sub(n_features, builder.load(begin))
                    with builder.if_then(builder.icmp_signed(">=", left, _index(size))):
                        block(size, builder.load(begin))
                        builder.store(builder.add(builder.load(begin), _index(size)), begin)

        Limits(code, twice, limit, highest, reached, distance, width, live, live_width, n_chunks).pairs(
            x, listed, slots, n_slots, advance
        )

    return _made(
        generate,
        x,
        whitener,
        mean,
        x,
        width,
        n_chunks,
        n_features,
        listed,
        slots,
        n_slots,
        first,
        twice,
        limit,
        highest,
        reached,
        distance,
        live,
        live_width,
    )


@kernel
def first_whitened(n_features):
    """Return after how many features whitened distances are compared with their limits for the first time."""
    return n_features if n_features <= _FEW else _ROWS


def begin_whitened(whitener, mean, x, n, listed, begin, end, first, distance):
    """Overwrite rows begin .. end of `distance` with the sums of the first `first` squares of whitened distances.

    `first` is what :func:`first_whitened` returns; the other arguments are those of
    :func:`fastgmm.kernels.simd.whitened_distances`.
    """
    for s in range(begin, end):
        k = listed[s]
        whitened = np.tril(whitener[k])[:first] @ (x[:, :n] - mean[k][:, None])
        distance[s, n:] = 0.0
        distance[s, :n] = (whitened**2).sum(axis=0)


@vector_code(begin_whitened)
def _begin_whitened_code(whitener, mean, x, n, listed, begin, end, first, distance):
    _begin_whitened(whitener, mean, x, x.shape[1], _chunks(x, n), mean.shape[1], listed, begin, end, first, distance)


def finish_whitened(
    whitener, mean, x, n, listed, slots, n_slots, first, twice, limit, highest, reached, distance, live
):
    """Finish the distances of the slots that ``slots[:n_slots]`` name, or give them up, chunk by chunk of columns.

    `distance` holds the sums of the first `first` squares. A chunk is given up where for all its rows the sum is above
    ``limit[k] + reached``, for k the component of the slot; ``live[slot, chunk]`` becomes 0 for it, else 1. `reached`
    (T,) is lowered to the smallest finished distance less ``twice[k]``, widened against rounding; `highest` is the
    largest of `twice`. Thread-safe.
    """
    for slot in slots[:n_slots]:
        k = listed[slot]
        whitened = np.tril(whitener[k]) @ (x[:, :n] - mean[k][:, None])
        distance[slot, :n] = (whitened**2).sum(axis=0)
        _finish_all(slot, k, n, twice, highest, reached, distance, live)


def _finish_all(slot, k, n, twice, highest, reached, distance, live):
    live[slot] = 1
    distance[slot, n:] = 0.0
    value = distance[slot, :n] - twice[k]
    wider = value + np.abs(value) * WIDER + np.where(value + highest > FAR, _NO_LIMIT, 0.0)
    reached[:n] = np.fmin(reached[:n], wider)


@vector_code(finish_whitened)
def _finish_whitened_code(
    whitener, mean, x, n, listed, slots, n_slots, first, twice, limit, highest, reached, distance, live
):
    _finish_whitened(
        whitener,
        mean,
        x,
        x.shape[1],
        _chunks(x, n),
        mean.shape[1],
        listed,
        slots,
        n_slots,
        first,
        twice,
        limit,
        highest,
        reached,
        distance,
        live,
        live.shape[1],
    )


@intrinsic
def _project(typing_context, vectors, centre, x, width, n_chunks, n_features, listed, begin, end, out):
    def generate(code, vectors, centre, x, width, n_chunks, n_features, listed, begin, end, out):
        builder = code.builder

        def block(size, start, place):
            slots = [builder.add(builder.add(begin, start), _index(i)) for i in range(size)]
            sums = [code.accumulators(_VECTORS) for _ in slots]
            factors = [code.at(vectors, (builder.load(code.at(listed, slot)), n_features)) for slot in slots]
            with code.loop(n_features) as features:
                row = code.at(code.at(x, (features.index, width)), place)
                middle = code.splat(code.at(centre, features.index))
                columns = [builder.fsub(code.load(code.at(row, v * LANES)), middle) for v in range(_VECTORS)]
                for at_factor, total in zip(factors, sums, strict=True):
                    factor = code.splat(code.at(at_factor, features.index))
                    for v, column in enumerate(columns):
                        code.add_product(total[v], factor, column)
            for slot, total in zip(slots, sums, strict=True):
                store_squares(code, total, None, code.at(out, (slot, width), place))

        with code.loop(n_chunks) as chunks:
            place = builder.mul(chunks.index, _index(CHUNK))
            code.by_sizes(builder.sub(end, begin), lambda size, start: block(size, start, place), _HALVES)

    return _made(generate, x, vectors, centre, x, width, n_chunks, n_features, listed, begin, end, out)


def project(vectors, centre, x, n, listed, begin, end, out):
    """Overwrite rows begin .. end of `out` with products of ``vectors[listed[s]]`` (D,) and the columns of x - centre.

    `vectors` (K, D), C-contiguous; `centre` (D,). Thread-safe.
    """
    for s in range(begin, end):
        out[s, n:] = 0.0
        out[s, :n] = vectors[listed[s]] @ (x[: len(centre), :n] - centre[:, None])


@vector_code(project)
def _project_code(vectors, centre, x, n, listed, begin, end, out):
    _project(vectors, centre, x, x.shape[1], _chunks(x, n), centre.shape[0], listed, begin, end, out)


def _begin_squares(scaled):
    """Return an intrinsic for the first squares of listed components; `scaled` as of ``simd._squares``."""

    @intrinsic
    def begin_squares(typing_context, mean, scale, x, width, n_chunks, n_features, listed, begin, end, first, distance):
        def generate(code, mean, scale, x, width, n_chunks, n_features, listed, begin, end, first, distance):
            builder = code.builder

            def block(size, start, place):
                slots = [builder.add(builder.add(begin, start), _index(i)) for i in range(size)]
                components = [builder.load(code.at(listed, slot)) for slot in slots]
                sums = [code.accumulators(_VECTORS) for _ in slots]
                means = [code.at(mean, (k, n_features)) for k in components]
                scales = [code.at(scale, (k, n_features)) for k in components] if scaled == "features" else None
                add_squares(code, means, scales, code.at(x, place), width, sums, _index(0), first)
                for slot, total in zip(slots, sums, strict=True):
                    store_squares(code, total, None, code.at(distance, (slot, width), place))

            count = builder.sub(end, begin)
            with code.loop(n_chunks) as chunks:
                place = builder.mul(chunks.index, _index(CHUNK))
                code.by_sizes(count, lambda size, start: block(size, start, place), _HALVES)

        return _made(generate, x, mean, scale, x, width, n_chunks, n_features, listed, begin, end, first, distance)

    return begin_squares


def _finish_squares(scaled):
    """Return an intrinsic that finishes the squares of listed components; `scaled` as of ``simd._squares``."""

    @intrinsic
    def finish_squares(
        typing_context,
        mean,
        scale,
        x,
        width,
        n_chunks,
        n_features,
        listed,
        slots,
        n_slots,
        first,
        twice,
        limit,
        highest,
        reached,
        distance,
        live,
        live_width,
    ):
        def generate(
            code,
            mean,
            scale,
            x,
            width,
            n_chunks,
            n_features,
            listed,
            slots,
            n_slots,
            first,
            twice,
            limit,
            highest,
            reached,
            distance,
            live,
            live_width,
        ):
            builder = code.builder

            def advance(k, at_x, sums, alive, given_up):
                means = [code.at(mean, (k, n_features))]
                scales = [code.at(scale, (k, n_features))] if scaled == "features" else None
                rest = builder.add(builder.sub(n_features, first), _index(_STEP - 1))
                with code.loop(builder.udiv(rest, _index(_STEP))) as parts:
                    begin = builder.add(first, builder.mul(parts.index, _index(_STEP)))
                    end = builder.add(begin, _index(_STEP))
                    end = builder.select(builder.icmp_signed("<", end, n_features), end, n_features)
                    add_squares(code, means, scales, at_x, width, [sums], begin, end)
                    with builder.if_then(given_up()):
                        builder.store(ir.Constant(_BIT, 0), alive)
                        parts.do_break()

            Limits(code, twice, limit, highest, reached, distance, width, live, live_width, n_chunks).pairs(
                x, listed, slots, n_slots, advance, scale if scaled == "components" else None
            )

        return _made(
            generate,
            x,
            mean,
            scale,
            x,
            width,
            n_chunks,
            n_features,
            listed,
            slots,
            n_slots,
            first,
            twice,
            limit,
            highest,
            reached,
            distance,
            live,
            live_width,
        )

    return finish_squares


_begin_plain, _begin_by_feature = _begin_squares(""), _begin_squares("features")
_finish_plain, _finish_by_feature = _finish_squares(""), _finish_squares("features")
_finish_by_component = _finish_squares("components")


@kernel
def first_squares(n_features):
    """Return after how many features plain sums of squares are compared with their limits for the first time."""
    return min(n_features, _STEP)


def begin_squares(mean, scale, x, n, listed, begin, end, first, distance):
    """Overwrite rows begin .. end of `distance` with the sums over the first `first` features of squared differences.

    Of scale (x - mean[k]), but where `scale` is (K,) it counts at the end alone. `first` is what
    :func:`first_squares` returns.
    """
    for s in range(begin, end):
        k = listed[s]
        factor = scale[k][:first, None] if scale.ndim == 2 else 1.0
        distance[s, n:] = 0.0
        distance[s, :n] = (((x[:first, :n] - mean[k][:first, None]) * factor) ** 2).sum(axis=0)


@vector_code(begin_squares)
def _begin_squares_code(mean, scale, x, n, listed, begin, end, first, distance):
    n_chunks = _chunks(x, n)
    if scale.ndim == 2:
        _begin_by_feature(mean, scale, x, x.shape[1], n_chunks, mean.shape[1], listed, begin, end, first, distance)
    else:
        _begin_plain(mean, mean, x, x.shape[1], n_chunks, mean.shape[1], listed, begin, end, first, distance)


def finish_squares(mean, scale, x, n, listed, slots, n_slots, first, twice, limit, highest, reached, distance, live):
    """Do what :func:`finish_whitened` does for squared norms of scale (x - mean); `scale` is (K, D) or (K,)."""
    for slot in slots[:n_slots]:
        k = listed[slot]
        distance[slot, :n] = (((x[: len(mean[k]), :n] - mean[k][:, None]) * np.reshape(scale[k], (-1, 1))) ** 2).sum(
            axis=0
        )
        _finish_all(slot, k, n, twice, highest, reached, distance, live)


@vector_code(finish_squares)
def _finish_squares_code(
    mean, scale, x, n, listed, slots, n_slots, first, twice, limit, highest, reached, distance, live
):
    n_features, n_chunks = mean.shape[1], _chunks(x, n)
    if scale.ndim == 2:
        _finish_by_feature(
            mean,
            scale,
            x,
            x.shape[1],
            n_chunks,
            n_features,
            listed,
            slots,
            n_slots,
            first,
            twice,
            limit,
            highest,
            reached,
            distance,
            live,
            live.shape[1],
        )
    else:
        _finish_by_component(
            mean,
            scale,
            x,
            x.shape[1],
            n_chunks,
            n_features,
            listed,
            slots,
            n_slots,
            first,
            twice,
            limit,
            highest,
            reached,
            distance,
            live,
            live.shape[1],
        )


def finish_plain_squares(mean, x, n, listed, slots, n_slots, first, twice, limit, highest, reached, distance, live):
    """Do what :func:`finish_whitened` does for squared norms of x - mean."""
    finish_squares(
        mean,
        np.ones(len(mean)),
        x,
        n,
        listed,
        slots,
        n_slots,
        first,
        twice,
        limit,
        highest,
        reached,
        distance,
        live,
    )


@vector_code(finish_plain_squares)
def _finish_plain_squares_code(
    mean, x, n, listed, slots, n_slots, first, twice, limit, highest, reached, distance, live
):
    _finish_plain(
        mean,
        mean,
        x,
        x.shape[1],
        _chunks(x, n),
        mean.shape[1],
        listed,
        slots,
        n_slots,
        first,
        twice,
        limit,
        highest,
        reached,
        distance,
        live,
        live.shape[1],
    )
