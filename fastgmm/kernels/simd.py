"""Explicit vector code: the register-blocked loops that a compiler does not find, written with llvmlite. One file.

What takes the time of a fit with covariance matrices is a triangular matrix times a tile of rows, and a tile times
itself. Plain loops reach half of what a core can do: they store and reload partial results, or centre rows into a
buffer first. Here a block of 8 x 3 vectors stays in registers while the features pass by. Vectors are as wide as the
processor's (any width is correct on any processor: LLVM splits them), and run over the rows of a feature-major tile.

Each function exists twice: as vector code in compiled code, and as NumPy with compilation switched off.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastgmm.kernels._compile import HAS_32_REGISTERS, LANES, kernel, vector_code

_VECTORS = 3
#: Rows that :func:`whiten_chunk` takes at once.
CHUNK = _VECTORS * LANES
# Of a block of _ROWS x _VECTORS accumulators, together with what they are made of, none may leave the registers.
_ROWS = 8 if HAS_32_REGISTERS else 4
# Widths are multiples of this: whole chunks of vectors of any width, and no powers of two, which would put the rows of
# a tile in the same few places of a cache.
_WIDTH = 24
_ALIGNMENT = 64

_DOUBLE = ir.DoubleType()
_VECTOR = ir.VectorType(_DOUBLE, LANES)
_INDEX = ir.IntType(64)
_SHORT = ir.IntType(32)


@kernel
def tile_width(rows):
    """Return the width of a buffer for a tile of so many rows: whole chunks."""
    return (rows + _WIDTH - 1) // _WIDTH * _WIDTH


@kernel
def tile_buffer(n_features, rows):
    """Return a zeroed float64 array (n_features, tile_width(rows)) whose rows begin at cache lines."""
    width = tile_width(rows)
    memory = np.zeros(n_features * width + _ALIGNMENT // 8)
    skip = -(memory.ctypes.data // 8) % (_ALIGNMENT // 8)
    return memory[skip : skip + n_features * width].reshape((n_features, width))


def _index(number):
    return ir.Constant(_INDEX, number)


def _data(context, builder, signature, arguments, position):
    return cgutils.create_struct_proxy(signature.args[position])(context, builder, arguments[position]).data


def _load(builder, pointer, index):
    return builder.load(builder.bitcast(builder.gep(pointer, [index]), _VECTOR.as_pointer()), align=8)


def _store(builder, value, pointer, index):
    builder.store(value, builder.bitcast(builder.gep(pointer, [index]), _VECTOR.as_pointer()), align=8)


def _splat(builder, scalar):
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    vector = builder.insert_element(undefined, scalar, ir.Constant(_SHORT, 0))
    return builder.shuffle_vector(vector, undefined, ir.Constant(ir.VectorType(_SHORT, LANES), [0] * LANES))


def _multiply_add(builder, a, b, c):
    flags = ("contract",)
    return builder.fadd(builder.fmul(a, b, flags=flags), c, flags=flags)


def _accumulators(builder, number):
    # Allocas that LLVM turns into registers.
    return [cgutils.alloca_once_value(builder, ir.Constant(_VECTOR, None)) for _ in range(number)]


def _add_product(builder, accumulator, a, b):
    builder.store(_multiply_add(builder, a, b, builder.load(accumulator)), accumulator)


def _shuffle(builder, first, second, lanes):
    return builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(_SHORT, len(lanes)), lanes))


def _exchanged(builder, first, second, bit):
    """Return both vectors with the lanes of `first` that have `bit` and those of `second` that have not exchanged."""
    low = [i + LANES - bit if i & bit else i for i in range(LANES)]
    high = [i + LANES if i & bit else i + bit for i in range(LANES)]
    return _shuffle(builder, first, second, low), _shuffle(builder, first, second, high)


def _sums(builder, vectors):
    """Return one vector of the sums of at most LANES vectors: in log2(LANES) stages, each halving their number."""
    vectors = vectors + [ir.Constant(_VECTOR, None)] * (LANES - len(vectors))
    bit = 1
    while bit < LANES:
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        vectors = [builder.fadd(*_exchanged(builder, x, y, bit)) for x, y in pairs]
        bit *= 2
    return vectors[0]


def _add_sums(builder, accumulators, targets):
    """Add the sum of each accumulator to the number that its target points to."""
    for start in range(0, len(targets), LANES):
        sums = _sums(builder, [builder.load(a) for a in accumulators[start : start + LANES]])
        for lane, target in enumerate(targets[start : start + LANES]):
            total = builder.extract_element(sums, ir.Constant(_SHORT, lane))
            builder.store(builder.fadd(builder.load(target), total), target)


@intrinsic
def _whiten_chunk(typing_context, whitener, mean, x, width, first, n_features, distance):
    signature = types.void(whitener, mean, x, width, first, n_features, distance)

    def generate(context, builder, signature, arguments):
        factor, mean, x, distance = (_data(context, builder, signature, arguments, i) for i in (0, 1, 2, 6))
        width, first, n_features = arguments[3:6]
        x, distance = builder.gep(x, [first]), builder.gep(distance, [first])
        squares = _accumulators(builder, _VECTORS)
        done = cgutils.alloca_once_value(builder, _index(0))

        def centred(feature):
            centre = _splat(builder, builder.load(builder.gep(mean, [feature])))
            row = builder.mul(feature, width)
            return [
                builder.fsub(_load(builder, x, builder.add(row, _index(v * LANES))), centre) for v in range(_VECTORS)
            ]

        def block(n_rows):
            """Square the next `n_rows` whitened features and add them up."""
            begin = builder.load(done)
            rows = [
                builder.gep(factor, [builder.mul(builder.add(begin, _index(r)), n_features)]) for r in range(n_rows)
            ]
            products = _accumulators(builder, n_rows * _VECTORS)
            for product in products:
                builder.store(ir.Constant(_VECTOR, None), product)
            with cgutils.for_range(builder, begin) as loop:
                vectors = centred(loop.index)
                for r in range(n_rows):
                    weight = _splat(builder, builder.load(builder.gep(rows[r], [loop.index])))
                    for v in range(_VECTORS):
                        _add_product(builder, products[r * _VECTORS + v], weight, vectors[v])
            # The triangle on the diagonal.
            for c in range(n_rows):
                feature = builder.add(begin, _index(c))
                vectors = centred(feature)
                for r in range(c, n_rows):
                    weight = _splat(builder, builder.load(builder.gep(rows[r], [feature])))
                    for v in range(_VECTORS):
                        _add_product(builder, products[r * _VECTORS + v], weight, vectors[v])
                for v in range(_VECTORS):
                    whitened = builder.load(products[c * _VECTORS + v])
                    _add_product(builder, squares[v], whitened, whitened)
            builder.store(builder.add(begin, _index(n_rows)), done)

        for square in squares:
            builder.store(ir.Constant(_VECTOR, None), square)
        builder.store(_index(0), done)
        with cgutils.for_range(builder, builder.udiv(n_features, _index(_ROWS))):
            block(_ROWS)
        n_rows = _ROWS // 2
        while n_rows:
            rest = builder.and_(n_features, _index(n_rows))
            with builder.if_then(builder.icmp_signed("!=", rest, _index(0))):
                block(n_rows)
            n_rows //= 2
        for v in range(_VECTORS):
            _store(builder, builder.load(squares[v]), distance, _index(v * LANES))
        return context.get_dummy_value()

    return signature, generate


def whiten_chunk(whitener, mean, x, first, distance):
    """Overwrite distance[first : first + CHUNK] with the squared norms of whitener (x - mean) for those columns of x.

    `whitener` (D, D) C-contiguous lower triangular, `mean` (D,), `x` (D, T) with rows of T numbers, `distance` (T,),
    all float64. Reads and writes CHUNK columns, which must be there. Thread-safe.
    """
    columns = slice(first, first + CHUNK)
    distance[columns] = ((np.tril(whitener) @ (x[:, columns] - mean[:, None])) ** 2).sum(axis=0)


@vector_code(whiten_chunk)
def _whiten_chunk_compiled(whitener, mean, x, first, distance):
    _whiten_chunk(whitener, mean, x, x.shape[1], first, mean.shape[0], distance)


@intrinsic
def _weigh(typing_context, x, width, mean, r, i, n_rows, n_vectors, v, stride, deviation):
    signature = types.void(x, width, mean, r, i, n_rows, n_vectors, v, stride, deviation)

    def generate(context, builder, signature, arguments):
        x, mean, r, v, deviation = (_data(context, builder, signature, arguments, k) for k in (0, 2, 3, 7, 9))
        width, i, n_rows, n_vectors, stride = (arguments[k] for k in (1, 4, 5, 6, 8))
        total = _accumulators(builder, 1)[0]
        with cgutils.for_range(builder, n_rows) as features:
            feature = builder.add(i, features.index)
            centre = _splat(builder, builder.load(builder.gep(mean, [feature])))
            source = builder.gep(x, [builder.mul(feature, width)])
            weighted = builder.gep(v, [builder.mul(features.index, stride)])
            builder.store(ir.Constant(_VECTOR, None), total)
            with cgutils.for_range(builder, n_vectors) as vectors:
                place = builder.mul(vectors.index, _index(LANES))
                product = builder.fmul(_load(builder, r, place), builder.fsub(_load(builder, source, place), centre))
                _store(builder, product, weighted, place)
                builder.store(builder.fadd(builder.load(total), product), total)
            _add_sums(builder, [total], [builder.gep(deviation, [feature])])
        return context.get_dummy_value()

    return signature, generate


def _outer_block(n_rows, n_columns, diagonal=False):
    """Return an intrinsic that adds n_rows x n_columns entries of a weighted scatter, a triangle if `diagonal`.

    Rows i .. of the scatter are those of `v` from row `top` on; columns j .. those of the tile, centred on the fly.
    """

    @intrinsic
    def outer_block(typing_context, v, stride, top, x, width, mean, i, j, n_vectors, scatter, n_features):
        signature = types.void(v, stride, top, x, width, mean, i, j, n_vectors, scatter, n_features)

        def generate(context, builder, signature, arguments):
            v, x, mean, scatter = (_data(context, builder, signature, arguments, k) for k in (0, 3, 5, 9))
            stride, top, width, i, j, n_vectors, n_features = (arguments[k] for k in (1, 2, 4, 6, 7, 8, 10))
            left = [builder.gep(v, [builder.mul(builder.add(top, _index(r)), stride)]) for r in range(n_rows)]
            features = [builder.add(j, _index(c)) for c in range(n_columns)]
            right = [builder.gep(x, [builder.mul(feature, width)]) for feature in features]
            centres = [_splat(builder, builder.load(builder.gep(mean, [feature]))) for feature in features]
            entries = [(r, c) for r in range(n_rows) for c in range(n_columns) if not diagonal or c <= r]
            sums = dict(zip(entries, _accumulators(builder, len(entries)), strict=True))
            for accumulator in sums.values():
                builder.store(ir.Constant(_VECTOR, None), accumulator)
            with cgutils.for_range(builder, n_vectors) as loop:
                place = builder.mul(loop.index, _index(LANES))
                columns = [
                    builder.fsub(_load(builder, pointer, place), centre)
                    for pointer, centre in zip(right, centres, strict=True)
                ]
                for r, pointer in enumerate(left):
                    row = _load(builder, pointer, place)
                    for c in range(r + 1 if diagonal else n_columns):
                        _add_product(builder, sums[r, c], row, columns[c])
            corners = [
                builder.gep(scatter, [builder.add(builder.mul(builder.add(i, _index(r)), n_features), j)])
                for r in range(n_rows)
            ]
            _add_sums(builder, list(sums.values()), [builder.gep(corners[r], [_index(c)]) for r, c in entries])
            return context.get_dummy_value()

        return signature, generate

    return outer_block


_tall_block_3 = _outer_block(_ROWS, 3)
_tall_block_2 = _outer_block(_ROWS, 2)
_tall_block_1 = _outer_block(_ROWS, 1)
_block_4_4 = _outer_block(4, 4)
_block_2_4 = _outer_block(2, 4)
_block_1_2 = _outer_block(1, 2)
_triangle_4 = _outer_block(4, 4, diagonal=True)
_triangle_2 = _outer_block(2, 2, diagonal=True)
_triangle_1 = _outer_block(1, 1, diagonal=True)


@kernel
def _weigh_rows(x, mean, r, n, i, n_rows, v, deviation):
    """Overwrite rows 0 .. n_rows of `v` with r (x - mean) for features i .., zeros to whole vectors; add their sums."""
    whole = n // LANES
    _weigh(x, x.shape[1], mean, r, i, n_rows, whole, v, v.shape[1], deviation)
    if n > whole * LANES:
        for d in range(n_rows):
            s = 0.0
            for b in range(whole * LANES, n):
                q = r[b] * (x[i + d, b] - mean[i + d])
                v[d, b] = q
                s += q
            for b in range(n, (whole + 1) * LANES):
                v[d, b] = 0.0
            deviation[i + d] += s


def add_moments(x, mean, r, n, v, deviation, scatter):
    """Add the moments of the first n columns of the tile about `mean`, weighted by `r`: to `deviation` and `scatter`.

    `x` (D, T), `r` at least (n,), `deviation` (D,), `scatter` (D, D) C-contiguous, of which the lower triangle counts;
    `v` is scratch, a tile_buffer of 8 rows for n columns. All float64. Columns of `x` from n on, as far as a vector
    reaches, are read and must hold finite numbers. Thread-safe.
    """
    centred = x[:, :n] - mean[:, None]
    deviation += centred @ r[:n]
    scatter += np.tril((r[:n] * centred) @ centred.T)


@vector_code(add_moments)
def _add_moments_compiled(x, mean, r, n, v, deviation, scatter):
    n_features = scatter.shape[0]
    width = x.shape[1]
    stride = v.shape[1]
    n_vectors = (n + LANES - 1) // LANES
    if n_vectors * LANES > width:
        # A tile that ends with its rows.
        n_vectors -= 1
        for b in range(n_vectors * LANES, n):
            for i in range(n_features):
                q = r[b] * (x[i, b] - mean[i])
                deviation[i] += q
                for j in range(i + 1):
                    scatter[i, j] += q * (x[j, b] - mean[j])
        n = n_vectors * LANES
    whole = n_features - n_features % _ROWS
    for i in range(0, whole, _ROWS):
        _weigh_rows(x, mean, r, n, i, _ROWS, v, deviation)
        j = 0
        while j + 3 <= i:
            _tall_block_3(v, stride, 0, x, width, mean, i, j, n_vectors, scatter, n_features)
            j += 3
        if j + 2 == i:
            _tall_block_2(v, stride, 0, x, width, mean, i, j, n_vectors, scatter, n_features)
        elif j + 1 == i:
            _tall_block_1(v, stride, 0, x, width, mean, i, j, n_vectors, scatter, n_features)
        _triangle_4(v, stride, 0, x, width, mean, i, i, n_vectors, scatter, n_features)
        if _ROWS == 8:
            _block_4_4(v, stride, 4, x, width, mean, i + 4, i, n_vectors, scatter, n_features)
            _triangle_4(v, stride, 4, x, width, mean, i + 4, i + 4, n_vectors, scatter, n_features)
    i = whole
    _weigh_rows(x, mean, r, n, i, n_features - whole, v, deviation)
    if n_features - whole >= 4:
        for j in range(0, i, 4):
            _block_4_4(v, stride, 0, x, width, mean, i, j, n_vectors, scatter, n_features)
        _triangle_4(v, stride, 0, x, width, mean, i, i, n_vectors, scatter, n_features)
        i += 4
    if n_features & 2:
        for j in range(0, i, 4):
            _block_2_4(v, stride, i - whole, x, width, mean, i, j, n_vectors, scatter, n_features)
        _triangle_2(v, stride, i - whole, x, width, mean, i, i, n_vectors, scatter, n_features)
        i += 2
    if n_features & 1:
        for j in range(0, i, 2):
            _block_1_2(v, stride, i - whole, x, width, mean, i, j, n_vectors, scatter, n_features)
        _triangle_1(v, stride, i - whole, x, width, mean, i, i, n_vectors, scatter, n_features)


def _transpose(n_columns):
    """Return an intrinsic that copies n_columns features of LANES rows to n_columns vectors of a tile."""

    @intrinsic
    def transpose(typing_context, rows, row, n_features, feature, x, width, column):
        single = rows.dtype == types.float32
        signature = types.void(rows, row, n_features, feature, x, width, column)

        def generate(context, builder, signature, arguments):
            rows, x = (_data(context, builder, signature, arguments, k) for k in (0, 4))
            row, n_features, feature, width, column = (arguments[k] for k in (1, 2, 3, 5, 6))
            source = builder.gep(rows, [builder.add(builder.mul(row, n_features), feature)])
            number = ir.FloatType() if single else _DOUBLE

            def piece(i):
                """Return row i's features."""
                pointer = builder.gep(source, [builder.mul(_index(i), n_features)])
                pointer = builder.bitcast(pointer, ir.VectorType(number, n_columns).as_pointer())
                vector = builder.load(pointer, align=4 if single else 8)
                return builder.fpext(vector, ir.VectorType(_DOUBLE, n_columns)) if single else vector

            def joined(pieces):
                while len(pieces) > 1:
                    lanes = list(range(2 * pieces[0].type.count))
                    pieces = [_shuffle(builder, a, b, lanes) for a, b in zip(pieces[::2], pieces[1::2], strict=True)]
                return pieces[0]

            # Rows i, i + n_columns, ... side by side; then the square blocks are transposed, all at once.
            vectors = [joined([piece(k) for k in range(i, LANES, n_columns)]) for i in range(n_columns)]
            bit = 1
            while bit < n_columns:
                for i in range(n_columns):
                    if not i & bit:
                        vectors[i], vectors[i | bit] = _exchanged(builder, vectors[i], vectors[i | bit], bit)
                bit *= 2
            target = builder.gep(x, [builder.add(builder.mul(feature, width), column)])
            for i, vector in enumerate(vectors):
                _store(builder, vector, target, builder.mul(_index(i), width))
            return context.get_dummy_value()

        return signature, generate

    return transpose


_transpose_all = _transpose(LANES)
_transpose_4 = _transpose(min(4, LANES))
_transpose_2 = _transpose(2)


def pack_tile(X, start, n, x):
    """Copy rows start .. start+n of X (N, D), float32 or float64 of any layout, into the feature-major float64 `x`."""
    x[:, :n] = X[start : start + n].T


@vector_code(pack_tile)
def _pack_tile_compiled(X, start, n, x):
    n_features = X.shape[1]
    width = x.shape[1]
    # Vectors are of neighbours in memory.
    whole = n - n % LANES if X.flags.c_contiguous else 0
    done = n_features - n_features % LANES
    for b in range(0, whole, LANES):
        for d in range(0, done, LANES):
            _transpose_all(X, start + b, n_features, d, x, width, b)
    if n_features - done >= 4:
        for b in range(0, whole, LANES):
            _transpose_4(X, start + b, n_features, done, x, width, b)
        done += 4
    if n_features - done >= 2:
        for b in range(0, whole, LANES):
            _transpose_2(X, start + b, n_features, done, x, width, b)
        done += 2
    for d in range(done, n_features):
        for b in range(whole):
            x[d, b] = X[start + b, d]
    for b in range(whole, n):
        for d in range(n_features):
            x[d, b] = X[start + b, d]
