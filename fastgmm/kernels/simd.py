"""Explicit vector code: the register-blocked loops that a compiler does not find, written with llvmlite. One file.

What takes the time of a fit is a matrix times a tile of rows, a tile times itself, and exponentials. Plain loops reach
half of what a core can do: they store and reload partial results, or centre rows into a buffer first. Here a block of
8 x 3 vectors stays in registers while the features pass by. Vectors are as wide as the processor's (any width is
correct on any processor: LLVM splits them), and run over the rows of a feature-major tile.

The buffers of a tile come from :func:`tile_buffer`, all of one type, float64 or float32, which is the type the work is
done in; sums over the rows of a tile end in float64. Whole chunks of columns are read and written: what stands beyond
the rows of a tile must be finite, and count for nothing (weight 0).

Each function exists twice: as vector code in compiled code, and as NumPy with compilation switched off.
"""

from __future__ import annotations

import contextlib

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastgmm.kernels import vector_math
from fastgmm.kernels._compile import HAS_32_REGISTERS, LANES, fused_multiply_add, kernel, vector_code

_VECTORS = 3
# Of a block of _ROWS x _VECTORS accumulators, together with what they are made of, none may leave the registers.
_ROWS = 8 if HAS_32_REGISTERS else 4
_HALVES = tuple(size for size in (8, 4, 2, 1) if size <= _ROWS)
# Up to so many features, a component is scored in one go, without blocks.
_FEW = 7 if HAS_32_REGISTERS else 4
# So many accumulators leave room for what they are made of.
_MOST_SUMS = 24 if HAS_32_REGISTERS else 10
# Widths are multiples of this: whole chunks of vectors of either type and any processor, and no powers of two, which
# would put the rows of a tile in the same few places of a cache.
_WIDTH = 48
_ALIGNMENT = 64
# Lines of cache that can come from memory while three vectors of one component are exponentiated, without waiting.
_MOST_LINES = 2
# A float32 vector holds twice as many numbers as a float64 one.
_VECTOR_BYTES = 8 * LANES

# A permutation of two registers of 8 numbers is a table of 16.
_EXP_TABLE = vector_math.EXP_DOUBLE_OF_16 if LANES == 8 else None

_INDEX = ir.IntType(64)
_SHORT = ir.IntType(32)
_DOUBLE = ir.DoubleType()
_FLOAT = ir.FloatType()


@kernel
def tile_width(rows):
    """Return the width of a buffer for a tile of so many rows: whole chunks."""
    return (rows + _WIDTH - 1) // _WIDTH * _WIDTH


@kernel
def tile_buffer(n_features, rows, like):
    """Return a zeroed array (n_features, tile_width(rows)) of the type of `like`, whose rows begin at cache lines."""
    width = tile_width(rows)
    padding = _ALIGNMENT // like.itemsize
    memory = np.zeros(n_features * width + padding, like.dtype)
    skip = -(memory.ctypes.data // like.itemsize) % padding
    return memory[skip : skip + n_features * width].reshape((n_features, width))


def copy_array(source, target):
    """Overwrite an array with another of the same type and size, both C-contiguous: a call, and no code for a loop."""
    target.reshape(-1)[:] = source.reshape(-1)


@vector_code(copy_array)
def _copy_array(source, target):
    _copy_bytes(source, target, source.size * source.itemsize)


def _index(number):
    return ir.Constant(_INDEX, number)


def _shuffle(builder, first, second, lanes):
    return builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(_SHORT, len(lanes)), lanes))


def _exchanged(builder, first, second, bit):
    """Return both vectors with the lanes of `first` that have `bit` and those of `second` that have not exchanged."""
    lanes = first.type.count
    low = [i + lanes - bit if i & bit else i for i in range(lanes)]
    high = [i + lanes if i & bit else i + bit for i in range(lanes)]
    return _shuffle(builder, first, second, low), _shuffle(builder, first, second, high)


def _part(builder, vector, start, length):
    return _shuffle(builder, vector, vector, list(range(start, start + length)))


class _Code:
    """What the functions below are written in: vector instructions on numbers of one type.

    Arithmetic is as it is written: never reordered, and a product is fused with a sum where it says so.
    """

    def __init__(self, builder, number):
        self.builder = builder
        self.single = number == types.float32
        self.lanes = LANES * (2 if self.single else 1)
        self.number = _FLOAT if self.single else _DOUBLE
        self.type = ir.VectorType(self.number, self.lanes)
        self.zero = ir.Constant(self.type, None)

    def at(self, pointer, *terms):
        """Return the pointer moved by a sum of terms; a term is an index, a number, or a pair to be multiplied."""
        for term in terms:
            if isinstance(term, tuple):
                term = self.builder.mul(*(_index(t) if isinstance(t, int) else t for t in term))
            pointer = self.builder.gep(pointer, [_index(term) if isinstance(term, int) else term])
        return pointer

    def load(self, pointer, kind=None):
        kind = self.type if kind is None else kind
        return self.builder.load(self.builder.bitcast(pointer, kind.as_pointer()), align=self._align(kind))

    def store(self, value, pointer):
        pointer = self.builder.bitcast(pointer, value.type.as_pointer())
        self.builder.store(value, pointer, align=self._align(value.type))

    @staticmethod
    def _align(kind):
        return 4 if kind.element == _FLOAT else 8

    def splat(self, pointer):
        """Return a vector of copies of the number that a pointer points to."""
        undefined = ir.Constant(self.type, ir.Undefined)
        vector = self.builder.insert_element(undefined, self.builder.load(pointer), ir.Constant(_SHORT, 0))
        return _shuffle(self.builder, vector, undefined, [0] * self.lanes)

    def constant(self, value):
        return ir.Constant(self.type, [float(value)] * self.lanes)

    def multiply_add(self, a, b, c):
        return fused_multiply_add(self.builder, a, b, c)

    def subtract_product(self, c, a, b):
        return self.multiply_add(self.builder.fneg(a), b, c)

    def accumulators(self, number):
        """Return variables, zeroed here, that LLVM turns into registers."""
        variables = [cgutils.alloca_once(self.builder, self.type) for _ in range(number)]
        self.fill(variables, self.zero)
        return variables

    def fill(self, variables, value):
        for variable in variables:
            self.builder.store(value, variable)

    def add(self, variable, value):
        self.builder.store(self.builder.fadd(self.builder.load(variable), value), variable)

    def add_product(self, variable, a, b):
        self.builder.store(self.multiply_add(a, b, self.builder.load(variable)), variable)

    def loop(self, count, start=None):
        """Return a context whose value's ``index`` runs from `start` (0) up to `count`."""
        return cgutils.for_range(self.builder, count, start)

    def unless_zero(self, pointer):
        """Return a context whose code runs unless a float64 is 0 (NaN is not)."""
        zero = ir.Constant(_DOUBLE, 0.0)
        return self.builder.if_then(self.builder.fcmp_unordered("!=", self.builder.load(pointer), zero))

    @contextlib.contextmanager
    def columns(self, n_chunks, together=_VECTORS):
        """Return a context that runs over the columns of a tile; its value: where so many vectors begin in each row.

        Those of a whole chunk, or one by one: of large blocks LLVM would load too much ahead, more than registers hold.
        """
        with self.loop(self.builder.mul(n_chunks, _index(_VECTORS // together))) as loop:
            first = self.builder.mul(loop.index, _index(together * self.lanes))
            yield [self.builder.add(first, _index(v * self.lanes)) for v in range(together)]

    def by_sizes(self, count, block, sizes):
        """Make code that calls ``block(size, begin)`` for runs of the first size, then at most once of each other."""
        builder = self.builder
        done = cgutils.alloca_once(builder, _INDEX)
        builder.store(_index(0), done)

        def step(size):
            begin = builder.load(done)
            block(size, begin)
            builder.store(builder.add(begin, _index(size)), done)

        with self.loop(builder.udiv(count, _index(sizes[0]))):
            step(sizes[0])
        for size in sizes[1:]:
            rest = builder.sub(count, builder.load(done))
            with builder.if_then(builder.icmp_signed(">=", rest, _index(size))):
                step(size)

    def choose(self, number, case, sizes, default):
        """Make code that calls ``case(size)`` where `number` is one of the sizes, else ``default()``."""
        builder = self.builder
        end = builder.append_basic_block("chosen")
        other = builder.append_basic_block("other")
        switch = builder.switch(number, other)
        for size in sizes:
            block = builder.append_basic_block(f"size{size}")
            switch.add_case(_index(size), block)
            builder.position_at_end(block)
            case(size)
            builder.branch(end)
        builder.position_at_end(other)
        default()
        builder.branch(end)
        builder.position_at_end(end)

    def sums(self, vectors):
        """Return a float64 vector (LANES) of the sums of at most LANES vectors, by stages that halve their number."""
        builder = self.builder
        vectors = vectors + [self.zero] * (LANES - len(vectors))
        bit = 1
        while bit < LANES:
            pairs = zip(vectors[::2], vectors[1::2], strict=True)
            vectors = [builder.fadd(*_exchanged(builder, x, y, bit)) for x, y in pairs]
            bit *= 2
        return self.folded(vectors[0])

    def folded(self, vector):
        """Return a float64 vector (LANES) of the same sum."""
        if not self.single:
            return vector
        wide = ir.VectorType(_DOUBLE, LANES)
        halves = [self.builder.fpext(_part(self.builder, vector, i, LANES), wide) for i in (0, LANES)]
        return self.builder.fadd(*halves)

    def add_sums(self, columns):
        """Add to float64 numbers in memory: `columns` are pairs (pointer to neighbours, their accumulators or None).

        All columns have the same length, a power of two; None leaves the number as it is (0 is added).
        """
        builder = self.builder
        length = len(columns[0][1])
        if length > LANES:
            columns = [
                (self.at(pointer, start), column[start : start + LANES])
                for pointer, column in columns
                for start in range(0, length, LANES)
            ]
            length = LANES
        together = LANES // length
        for start in range(0, len(columns), together):
            group = columns[start : start + together]
            flat = [accumulator for _, column in group for accumulator in column]
            total = self.sums([self.zero if a is None else builder.load(a) for a in flat])
            for i, (pointer, _) in enumerate(group):
                part = total if length == LANES else _part(builder, total, i * length, length)
                self.store(builder.fadd(self.load(pointer, part.type), part), pointer)

    def exponential(self, x):
        """Return e**x for x <= 0, within 1 ulp; 0 where e**x is not normal; NaN for NaN.

        e**x = 2**(k / n) * (1 + r + r**2 q(r)) for an integer k and n = 1, or n = 16 and a table in registers.
        """
        builder = self.builder
        constants = vector_math.EXP_SINGLE if self.single else _EXP_TABLE or vector_math.EXP_DOUBLE
        parts = constants.table_size
        magic = self.constant(constants.magic)
        # What becomes of such numbers up to the end does not matter.
        under = builder.fcmp_ordered("<", x, self.constant(constants.lowest))
        # Adding the magic number rounds to an integer, which stands in the low bits of the sum.
        shifted = self.multiply_add(x, self.constant(parts * vector_math.LOG2_E), magic)
        k = builder.fsub(shifted, magic)
        r = self.subtract_product(x, k, self.constant(constants.ln2_high / parts))
        r = self.subtract_product(r, k, self.constant(constants.ln2_low / parts))
        square = builder.fmul(r, r)
        # Estrin's scheme: neighbours in pairs, then the pairs, so that little waits for what comes before.
        terms = [self.constant(c) for c in constants.polynomial]
        power = r
        while len(terms) > 1:
            odd = terms[1::2]
            even = terms[::2]
            terms = [self.multiply_add(power, b, a) for a, b in zip(even, odd, strict=False)] + even[len(odd) :]
            power = square if power is r else builder.fmul(power, power)
        p = self.multiply_add(terms[0], square, r)
        kind = ir.VectorType(ir.IntType(32 if self.single else 64), self.lanes)

        def number(value):
            return ir.Constant(kind, [value] * self.lanes)

        whole = builder.bitcast(shifted, kind)
        if parts > 1:
            # The low bits of the integer choose from the table, the others are the exponent.
            values = [2.0 ** (i / parts) for i in range(parts)]
            low, high = (ir.Constant(self.type, values[i : i + LANES]) for i in (0, LANES))
            function = ir.FunctionType(self.type, [self.type, kind, self.type])
            choose = cgutils.get_or_insert_function(builder.module, function, "llvm.x86.avx512.vpermi2var.pd.512")
            power = builder.call(choose, [low, whole, high])
            exponent = builder.shl(builder.and_(whole, number(-parts)), number(constants.mantissa_bits - 4))
            power = builder.bitcast(builder.add(builder.bitcast(power, kind), exponent), self.type)
            value = self.multiply_add(power, p, power)
        else:
            p = builder.bitcast(builder.fadd(p, self.constant(1.0)), kind)
            value = builder.bitcast(builder.add(p, builder.shl(whole, number(constants.mantissa_bits))), self.type)
        return builder.select(under, self.zero, value)

    def larger(self, a, b):
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def prefetch(self, pointer, n_lines):
        """Ask for so many cache lines from a pointer on: to be read, into the first level of cache."""
        byte = ir.IntType(8).as_pointer()
        function = ir.FunctionType(ir.VoidType(), [byte, _SHORT, _SHORT, _SHORT])
        prefetch = cgutils.get_or_insert_function(self.builder.module, function, "llvm.prefetch.p0")
        hints = [ir.Constant(_SHORT, value) for value in (0, 3, 1)]
        begin = self.builder.bitcast(pointer, byte)
        with self.loop(n_lines) as lines:
            self.builder.call(prefetch, [self.at(begin, (lines.index, _ALIGNMENT)), *hints])


def _made(generate, like, *kinds):
    """Return what an intrinsic returns: ``generate(code, ...)`` gets pointers for arrays, values for integers."""

    def emit(context, builder, signature, arguments):
        values = [
            cgutils.create_struct_proxy(kind)(context, builder, argument).data
            if isinstance(kind, types.Array)
            else argument
            for kind, argument in zip(signature.args, arguments, strict=True)
        ]
        generate(_Code(builder, like.dtype), *values)
        return context.get_dummy_value()

    return types.void(*kinds), emit


@intrinsic
def _copy_bytes(typing_context, source, target, n_bytes):
    def generate(code, source, target, n_bytes):
        byte = ir.IntType(8).as_pointer()
        source, target = (code.builder.bitcast(pointer, byte) for pointer in (source, target))
        cgutils.raw_memcpy(code.builder, target, source, n_bytes, 1)

    return _made(generate, target, source, target, n_bytes)


def few_whitened(code, whitener, mean, x, width, n_chunks, out, size):
    """Write squared norms of whitener (x - mean) to `out` with all of `size` features in registers."""
    builder = code.builder
    entries = [(i, j) for i in range(size) for j in range(i + 1)]
    weights = {(i, j): code.splat(code.at(whitener, i * size + j)) for i, j in entries}
    centres = [code.splat(code.at(mean, i)) for i in range(size)]
    with code.columns(n_chunks) as places:
        for place in places:
            centred = [
                builder.fsub(code.load(code.at(x, (_index(i), width), place)), centre)
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
        return [builder.fsub(code.load(code.at(row, v * code.lanes)), centre) for v in range(_VECTORS)]

    rows = [code.at(whitener, (builder.add(begin, _index(r)), n_features)) for r in range(size)]
    products = [code.accumulators(_VECTORS) for _ in range(size)]

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
        feature = builder.add(begin, _index(c))
        vectors = centred(feature)
        for r in range(c, size):
            add(vectors, feature, r)
        for v in range(_VECTORS):
            finish(feature, v, builder.load(products[c][v]))


def _whiten(keep):
    """Return an intrinsic that whitens chunks of columns: to rows of `out` if `keep`, else to their squared norms."""

    @intrinsic
    def whiten(typing_context, whitener, mean, x, width, n_chunks, n_components, n_features, out):
        def generate(code, whiteners, means, x, width, n_chunks, n_components, n_features, outs):
            builder = code.builder

            def many(whitener, mean, out, first):
                at_x, at_out = code.at(x, first), code.at(out, first)
                squares = code.accumulators(_VECTORS)

                def finish(feature, v, whitened):
                    if keep:
                        code.store(whitened, code.at(at_out, (feature, width), v * code.lanes))
                    else:
                        code.add_product(squares[v], whitened, whitened)

                def block(size, begin):
                    whitened_block(code, whitener, mean, at_x, width, n_features, size, begin, finish)

                code.by_sizes(n_features, block, _HALVES)
                if not keep:
                    for v in range(_VECTORS):
                        code.store(builder.load(squares[v]), code.at(at_out, v * code.lanes))

            def general(whitener, mean, out):
                with code.loop(n_chunks) as chunks:
                    many(whitener, mean, out, builder.mul(chunks.index, _index(_VECTORS * code.lanes)))

            with code.loop(n_components) as components:
                k = components.index
                row = builder.mul(k, n_features)
                whitener, mean, out = (
                    code.at(whiteners, (row, n_features)),
                    code.at(means, row),
                    code.at(outs, (k, width)),
                )
                code.choose(
                    n_features,
                    lambda size: few_whitened(code, whitener, mean, x, width, n_chunks, out, size),
                    () if keep else range(1, _FEW + 1),
                    lambda: general(whitener, mean, out),
                )

        return _made(generate, x, whitener, mean, x, width, n_chunks, n_components, n_features, out)

    return whiten


_whiten_chunks = _whiten(keep=True)
_whiten_chunks_to_squares = _whiten(keep=False)


@kernel
def _chunks(x, n):
    columns = _VECTORS * _VECTOR_BYTES // x.itemsize
    return (n + columns - 1) // columns


def whiten_tile(whitener, mean, x, n, out):
    """Overwrite the first n columns and D rows of `out`, as wide as x, with whitener (x - mean).

    `whitener` (D, D) C-contiguous lower triangular, `mean` (D,), tile `x` (D, T). Thread-safe.
    """
    out[: len(mean), :n] = np.tril(whitener) @ (x[:, :n] - mean[:, None])


@vector_code(whiten_tile)
def _whiten_tile(whitener, mean, x, n, out):
    _whiten_chunks(whitener, mean, x, x.shape[1], _chunks(x, n), 1, mean.shape[0], out)


def whitened_distances(whitener, mean, x, n, distance):
    """Overwrite distance[k, :n] with the squared norms of whitener[k] (x - mean[k]) for the columns of the tile.

    `whitener` (K, D, D) C-contiguous lower triangular, `mean` (K, D), tile `x` (D, T), `distance` (K, T). Thread-safe.
    """
    for k in range(len(mean)):
        distance[k, :n] = ((np.tril(whitener[k]) @ (x[:, :n] - mean[k][:, None])) ** 2).sum(axis=0)


@vector_code(whitened_distances)
def _whitened_distances(whitener, mean, x, n, distance):
    _whiten_chunks_to_squares(whitener, mean, x, x.shape[1], _chunks(x, n), mean.shape[0], mean.shape[1], distance)


def add_squares(code, means, scales, x, width, sums, begin, end):
    """Add squared differences of a chunk of columns from components in features `begin` .. `end` to their sums.

    `means` and `scales` are pointers to the components' rows; None: differences are not scaled.
    """
    builder = code.builder
    with code.loop(end, begin) as features:
        row = code.at(x, (features.index, width))
        vectors = [code.load(code.at(row, v * code.lanes)) for v in range(_VECTORS)]
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


def _squares(scaled):
    """Return an intrinsic for squared distances of a chunk of columns from all components.

    `scaled` says what the differences are multiplied by: "features" (a number for each component and feature),
    "components" (one for each component) or "" (nothing).
    """

    @intrinsic
    def squares(typing_context, mean, scale, x, width, n_chunks, n_components, n_features, distance):
        def generate(code, mean, scale, x, width, n_chunks, n_components, n_features, distance):
            builder = code.builder

            def block(size, begin, first):
                components = [builder.add(begin, _index(i)) for i in range(size)]
                sums = [code.accumulators(_VECTORS) for _ in components]
                entries = [code.at(mean, (k, n_features)) for k in components]
                scales = [code.at(scale, (k, n_features)) for k in components] if scaled == "features" else None
                add_squares(code, entries, scales, code.at(x, first), width, sums, _index(0), n_features)
                for k, total in zip(components, sums, strict=True):
                    at = code.at(distance, (k, width), first)
                    store_squares(code, total, code.at(scale, k) if scaled == "components" else None, at)

            with code.loop(n_chunks) as chunks:
                first = builder.mul(chunks.index, _index(_VECTORS * code.lanes))
                code.by_sizes(n_components, lambda size, begin: block(size, begin, first), _HALVES)

        return _made(generate, x, mean, scale, x, width, n_chunks, n_components, n_features, distance)

    return squares


_plain_squares = _squares("")
_squares_by_component = _squares("components")
_squares_by_feature = _squares("features")


def square_distances(mean, x, n, distance):
    """Overwrite distance[k, :n] with the squared norms of x - mean[k] for the columns of the tile.

    `mean` (K, D), tile `x` (D, T), `distance` (K, T). Thread-safe.
    """
    scaled_distances(mean, np.ones(len(mean)), x, n, distance)


@vector_code(square_distances)
def _square_distances(mean, x, n, distance):
    _plain_squares(mean, mean, x, x.shape[1], _chunks(x, n), mean.shape[0], mean.shape[1], distance)


def scaled_distances(mean, scale, x, n, distance):
    """Overwrite distance[k, :n] with the squared norms of scale (x - mean[k]) for the columns of the tile.

    `scale` (K, D) or (K,); the rest is as for :func:`square_distances`. Thread-safe.
    """
    for k in range(len(mean)):
        scaled = (x[:, :n] - mean[k][:, None]) * np.reshape(scale[k], (-1, 1))
        distance[k, :n] = (scaled**2).sum(axis=0)


@vector_code(scaled_distances)
def _scaled_distances(mean, scale, x, n, distance):
    if scale.ndim == 2:
        _squares_by_feature(mean, scale, x, x.shape[1], _chunks(x, n), mean.shape[0], mean.shape[1], distance)
    else:
        _squares_by_component(mean, scale, x, x.shape[1], _chunks(x, n), mean.shape[0], mean.shape[1], distance)


@intrinsic
def _softmax(
    typing_context,
    log_scale,
    distance,
    width,
    n_components,
    n_chunks,
    weight,
    r,
    peak,
    total,
    mass,
    sums,
    ahead,
    start,
    n_lines,
):
    line_floats = _ALIGNMENT * 8 // ahead.dtype.bitwidth

    def generate(
        code,
        log_scale,
        distance,
        width,
        n_components,
        n_chunks,
        weight,
        r,
        peak,
        total,
        mass,
        sums,
        ahead,
        start,
        n_lines,
    ):
        builder = code.builder
        wanted = cgutils.alloca_once_value(builder, code.at(ahead, start))
        minus_half = code.constant(-0.5)
        wide = ir.VectorType(_DOUBLE, LANES)

        def log_joint(component, scale, place):
            return code.multiply_add(minus_half, code.load(code.at(distance, (component, width), place)), scale)

        with code.loop(n_components) as components:
            code.store(ir.Constant(wide, None), code.at(sums, (components.index, LANES)))
        peaks, totals = code.accumulators(_VECTORS), code.accumulators(_VECTORS)
        with code.columns(n_chunks) as places:
            code.fill(totals, code.zero)
            code.fill(peaks, code.constant(float("-inf")))
            with code.loop(n_components) as components:
                scale = code.splat(code.at(log_scale, components.index))
                for v, place in enumerate(places):
                    joint = log_joint(components.index, scale, place)
                    builder.store(code.larger(joint, builder.load(peaks[v])), peaks[v])
            with code.loop(n_components) as components:
                scale = code.splat(code.at(log_scale, components.index))
                for v, place in enumerate(places):
                    joint = log_joint(components.index, scale, place)
                    value = code.exponential(builder.fsub(joint, builder.load(peaks[v])))
                    code.store(value, code.at(r, (components.index, width), place))
                    code.add(totals[v], value)
                code.prefetch(builder.load(wanted), n_lines)
                builder.store(code.at(builder.load(wanted), (n_lines, line_floats)), wanted)
            shares = []
            for v, place in enumerate(places):
                code.store(builder.load(peaks[v]), code.at(peak, place))
                code.store(builder.load(totals[v]), code.at(total, place))
                shares.append(builder.fdiv(code.load(code.at(weight, place)), builder.load(totals[v])))
            with code.loop(n_components) as components:
                values = []
                for share, place in zip(shares, places, strict=True):
                    at = code.at(r, (components.index, width), place)
                    values.append(builder.fmul(code.load(at), share))
                    code.store(values[-1], at)
                added = code.folded(builder.fadd(builder.fadd(values[0], values[1]), values[2]))
                at = code.at(sums, (components.index, LANES))
                code.store(builder.fadd(code.load(at, wide), added), at)
        with code.loop(n_components) as components:
            lanes = code.load(code.at(sums, (components.index, LANES)), wide)
            while lanes.type.count > 1:
                half = lanes.type.count // 2
                lanes = builder.fadd(_part(builder, lanes, 0, half), _part(builder, lanes, half, half))
            builder.store(builder.extract_element(lanes, ir.Constant(_SHORT, 0)), code.at(mass, components.index))

    return _made(
        generate,
        distance,
        log_scale,
        distance,
        width,
        n_components,
        n_chunks,
        weight,
        r,
        peak,
        total,
        mass,
        sums,
        ahead,
        start,
        n_lines,
    )


def softmax_tile(log_scale, distance, n, weight, r, peak, total, mass, X, start, stop):
    """Turn squared distances into weighted responsibilities: log joint = log_scale - distance / 2.

    `log_scale` (K,), `distance` (K, T). Overwrites, for the first n columns, r (K, T), which may be `distance` itself,
    with weight (T,) times the softmax over components; `peak` (T,) with the maximum of the log joint; `total` (T,) with
    the sum of its exponentials relative to the peak; and `mass` (K,) float64 with the sums of r over all columns. A
    column whose distances all overflow becomes NaN. Thread-safe.

    Meanwhile the processor is asked to have rows start .. stop of X (N, D) in cache soon, as many as it can fetch in
    that time; returns the first row that was not asked for.
    """
    joint = log_scale[:, None] - 0.5 * distance[:, :n]
    peak[:n] = joint.max(axis=0)
    share = np.exp(joint - peak[:n])
    total[:n] = share.sum(axis=0)
    r[:, :n] = share * (weight[:n] / total[:n])
    mass[:] = r[:, :n].sum(axis=1)
    return start


@vector_code(softmax_tile)
def _softmax_tile(log_scale, distance, n, weight, r, peak, total, mass, X, start, stop):
    n_components = log_scale.shape[0]
    n_chunks = _chunks(r, n)
    sums = np.empty((n_components, LANES))
    steps = n_components * n_chunks
    row_bytes = X.shape[1] * X.itemsize
    n_lines = 0
    if stop > start and X.flags.c_contiguous:
        n_lines = min(((stop - start) * row_bytes + _ALIGNMENT * steps - 1) // (_ALIGNMENT * steps), _MOST_LINES)
    _softmax(
        log_scale,
        distance,
        distance.shape[1],
        n_components,
        n_chunks,
        weight,
        r,
        peak,
        total,
        mass,
        sums,
        X,
        start * X.shape[1],
        n_lines,
    )
    return min(start + n_lines * _ALIGNMENT * steps // row_bytes, stop)


def _feature_moments(squares):
    """Return an intrinsic for moments of single features: first moments, and second ones if `squares`."""

    @intrinsic
    def moments(typing_context, x, width, origin, n_features, r, tile_mass, n_components, n_chunks, deviation, scatter):
        def generate(code, x, width, origin, n_features, r, tile_mass, n_components, n_chunks, deviation, scatter):
            builder = code.builder

            # Features outside, so that their part of the tile stays in L1 while the responsibilities pass by.
            def block(size, begin):
                rows = [code.at(x, (builder.add(begin, _index(i)), width)) for i in range(size)]
                with code.loop(n_components) as components:
                    k = components.index
                    with code.unless_zero(code.at(tile_mass, k)):
                        entry = (k, n_features), begin
                        centres = [code.splat(code.at(origin, *entry, i)) for i in range(size)]
                        first = code.accumulators(size)
                        second = code.accumulators(size if squares else 0)
                        with code.columns(n_chunks) as places:
                            for place in places:
                                weight = code.load(code.at(r, (k, width), place))
                                for i in range(size):
                                    centred = builder.fsub(code.load(code.at(rows[i], place)), centres[i])
                                    if squares:
                                        weighted = builder.fmul(weight, centred)
                                        code.add(first[i], weighted)
                                        code.add_product(second[i], weighted, centred)
                                    else:
                                        code.add_product(first[i], weight, centred)
                        code.add_sums([(code.at(deviation, *entry), first)])
                        if squares:
                            code.add_sums([(code.at(scatter, *entry), second)])

            code.by_sizes(n_features, block, _HALVES)

        return _made(
            generate, x, x, width, origin, n_features, r, tile_mass, n_components, n_chunks, deviation, scatter
        )

    return moments


_first_moments = _feature_moments(squares=False)
_first_and_second_moments = _feature_moments(squares=True)


def add_deviations(x, origin, r, n, tile_mass, deviation):
    """Add the first moments of the columns of the tile about `origin` (K, D), weighted by r (K, T), to `deviation`.

    `deviation` (K, D) float64. Components whose `tile_mass` (K,) is 0 are passed over; r is 0 from column n to the end
    of its chunk. Thread-safe.
    """
    for k in np.flatnonzero(tile_mass):
        deviation[k] += (x[:, :n] - origin[k][:, None]) @ r[k, :n]


@vector_code(add_deviations)
def _add_deviations(x, origin, r, n, tile_mass, deviation):
    n_components, n_features = origin.shape
    _first_moments(x, x.shape[1], origin, n_features, r, tile_mass, n_components, _chunks(x, n), deviation, deviation)


def add_variances(x, origin, r, n, tile_mass, deviation, scatter):
    """Add like :func:`add_deviations`, and the second moments of every feature to `scatter` (K, D) float64."""
    add_deviations(x, origin, r, n, tile_mass, deviation)
    for k in np.flatnonzero(tile_mass):
        scatter[k] += (x[:, :n] - origin[k][:, None]) ** 2 @ r[k, :n]


@vector_code(add_variances)
def _add_variances(x, origin, r, n, tile_mass, deviation, scatter):
    n_components, n_features = origin.shape
    _first_and_second_moments(
        x, x.shape[1], origin, n_features, r, tile_mass, n_components, _chunks(x, n), deviation, scatter
    )


def _groups(size):
    """Return ranges (low, high) of the rows of a triangle whose first and second moments fit in registers."""
    groups, low, count = [], 0, 0
    for row in range(size):
        if count + row + 2 > _MOST_SUMS:
            groups.append((low, row))
            low, count = row, 0
        count += row + 2
    return [*groups, (low, size)]


@intrinsic
def _weighted_sums(typing_context, r, values, width, tile_mass, n_components, n_chunks, sums):
    def generate(code, r, values, width, tile_mass, n_components, n_chunks, sums):
        with code.loop(n_components) as components:
            k = components.index
            with code.unless_zero(code.at(tile_mass, k)):
                # Several in turn: each addition waits for the one before.
                totals = code.accumulators(_VECTORS)
                with code.columns(n_chunks) as places:
                    for place, total in zip(places, totals, strict=True):
                        weight, value = (code.load(code.at(a, (k, width), place)) for a in (r, values))
                        code.add_product(total, weight, value)
                for total in totals[1:]:
                    code.add(totals[0], code.builder.load(total))
                code.add_sums([(code.at(sums, k), totals[:1])])

    return _made(generate, r, r, values, width, tile_mass, n_components, n_chunks, sums)


def add_weighted_sums(r, values, n, tile_mass, sums):
    """Add to sums (K,) float64 those of r (K, T) times `values` (K, T), both finite to the end of a chunk from n on.

    Components whose `tile_mass` (K,) is 0 are passed over. Thread-safe.
    """
    for k in np.flatnonzero(tile_mass):
        sums[k] += r[k, :n] @ values[k, :n]


@vector_code(add_weighted_sums)
def _add_weighted_sums(r, values, n, tile_mass, sums):
    _weighted_sums(r, values, r.shape[1], tile_mass, r.shape[0], _chunks(r, n), sums)


@intrinsic
def _moments(
    typing_context, x, width, origin, n_features, r, tile_mass, n_components, n_chunks, v, deviation, scatter, stride
):
    def generate(
        code,
        x,
        width,
        origins,
        n_features,
        rs,
        tile_mass,
        n_components,
        n_chunks,
        v,
        deviations,
        scatters,
        stride,
    ):
        builder = code.builder

        def triangle(component, size, begin, keep):
            """Add the moments of `size` features among themselves; if `keep`, write r (x - origin) of them to `v`."""
            origin, r, deviation, scatter = component
            features = [builder.add(begin, _index(i)) for i in range(size)]
            sources = [code.at(x, (feature, width)) for feature in features]
            centres = [code.splat(code.at(origin, feature)) for feature in features]
            for low, high in _groups(size):
                # Few sums are added in several places in turn: each addition waits for the one before.
                copies = _VECTORS if size <= 2 else 1
                entries = [(i, j) for i in range(low, high) for j in range(i + 1)]
                firsts = [{i: code.accumulators(1)[0] for i in range(low, high)} for _ in range(copies)]
                seconds = [{entry: code.accumulators(1)[0] for entry in entries} for _ in range(copies)]
                with code.columns(n_chunks, copies) as places:
                    for column, place in enumerate(places):
                        first, second = firsts[column % copies], seconds[column % copies]
                        weight = code.load(code.at(r, place))

                        def centred(i, place=place):
                            return builder.fsub(code.load(code.at(sources[i], place)), centres[i])

                        # First what is weighted, then column by column, so that little is alive at a time.
                        weighted = {i: builder.fmul(weight, centred(i)) for i in range(low, high)}
                        for i, value in weighted.items():
                            if keep:
                                code.store(value, code.at(v, (_index(i), width), place))
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
                sums = [(code.at(deviation, features[i]), [first]) for i, first in firsts[0].items()]
                sums += [
                    (code.at(scatter, (features[i], n_features), features[j]), [second])
                    for (i, j), second in seconds[0].items()
                ]
                code.add_sums(sums)

        def outer(component, begin, n_others, feature):
            """Add centred features `feature` .. times the rows of v, which are features `begin` .. weighted."""
            origin, _, _, scatter = component
            left = [code.at(v, (_index(i), width)) for i in range(_ROWS)]
            features = [builder.add(feature, _index(c)) for c in range(n_others)]
            right = [code.at(x, (feature, width)) for feature in features]
            centres = [code.splat(code.at(origin, feature)) for feature in features]
            sums = [code.accumulators(_ROWS) for _ in features]
            with code.columns(n_chunks, 1) as places:
                for place in places:
                    weighted = [code.load(code.at(row, place)) for row in left]
                    for c, accumulators in enumerate(sums):
                        centred = builder.fsub(code.load(code.at(right[c], place)), centres[c])
                        for accumulator, row in zip(accumulators, weighted, strict=True):
                            code.add_product(accumulator, row, centred)
            code.add_sums(
                [
                    (code.at(scatter, (feature, n_features), begin), accumulators)
                    for feature, accumulators in zip(features, sums, strict=True)
                ]
            )

        def moments(component):
            with code.loop(builder.udiv(n_features, _index(_ROWS))) as blocks:
                begin = builder.mul(blocks.index, _index(_ROWS))
                triangle(component, _ROWS, begin, keep=True)
                end = builder.add(begin, _index(_ROWS))
                rest = builder.sub(n_features, end)
                code.by_sizes(
                    rest, lambda size, start: outer(component, begin, size, builder.add(end, start)), (3, 2, 1)
                )
            rest = builder.urem(n_features, _index(_ROWS))
            begin = builder.sub(n_features, rest)
            code.choose(rest, lambda size: triangle(component, size, begin, keep=False), range(1, _ROWS), lambda: None)

        with code.loop(n_components) as components:
            k = components.index
            row = builder.mul(k, n_features)
            with code.unless_zero(code.at(tile_mass, k)):
                moments(
                    (
                        code.at(origins, row),
                        code.at(rs, (k, width)),
                        code.at(deviations, row),
                        code.at(scatters, (k, stride)),
                    )
                )

    return _made(
        generate, x, x, width, origin, n_features, r, tile_mass, n_components, n_chunks, v, deviation, scatter, stride
    )


@kernel
def moments_rows():
    """Return how many rows the scratch of :func:`add_moments` has."""
    return _ROWS


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


@vector_code(add_moments)
def _add_moments(x, origin, r, n, tile_mass, v, deviation, scatter):
    n_components, n_features = origin.shape
    stride = n_features * n_features if scatter.ndim == 3 else 0
    _moments(
        x,
        x.shape[1],
        origin,
        n_features,
        r,
        tile_mass,
        n_components,
        _chunks(x, n),
        v,
        deviation,
        scatter,
        stride,
    )


def _transpose(n_columns):
    """Return an intrinsic that copies `n_columns` features of a vector of rows to as many rows of a tile.

    0 stands for as many as a vector has numbers; `centre` is subtracted where rows and tile are both float32.
    """

    @intrinsic
    def transpose(typing_context, rows, row, n_features, feature, centre, x, width, column):
        widened = rows.dtype == types.float32 and x.dtype == types.float64
        centred = x.dtype == types.float32

        def generate(code, rows, row, n_features, feature, centre, x, width, column):
            builder = code.builder
            size = min(n_columns or code.lanes, code.lanes)
            source = code.at(rows, (row, n_features), feature)

            def piece(i):
                """Return row i's features."""
                pointer = code.at(source, (_index(i), n_features))
                if widened:
                    return builder.fpext(code.load(pointer, ir.VectorType(_FLOAT, size)), ir.VectorType(_DOUBLE, size))
                return code.load(pointer, ir.VectorType(code.number, size))

            def joined(pieces):
                while len(pieces) > 1:
                    lanes = list(range(2 * pieces[0].type.count))
                    pieces = [_shuffle(builder, a, b, lanes) for a, b in zip(pieces[::2], pieces[1::2], strict=True)]
                return pieces[0]

            # Rows i, i + size, ... side by side; then the square blocks are transposed, all at once.
            vectors = [joined([piece(k) for k in range(i, code.lanes, size)]) for i in range(size)]
            bit = 1
            while bit < size:
                for i in range(size):
                    if not i & bit:
                        vectors[i], vectors[i | bit] = _exchanged(builder, vectors[i], vectors[i | bit], bit)
                bit *= 2
            target = code.at(x, (feature, width), column)
            for i, vector in enumerate(vectors):
                if centred:
                    vector = builder.fsub(vector, code.splat(code.at(centre, feature, i)))
                code.store(vector, code.at(target, (_index(i), width)))

        return _made(generate, x, rows, row, n_features, feature, centre, x, width, column)

    return transpose


_transpose_all = _transpose(0)
_transpose_4 = _transpose(4)
_transpose_2 = _transpose(2)
_transpose_1 = _transpose(1)


def pack_tile(X, start, n, centre, x):
    """Copy rows start .. start+n of X (N, D), float32 or float64 of any layout, into the feature-major tile `x` (D, T).

    Into a float32 tile go the differences from `centre` (D,) float32; a float64 tile does not look at it.
    """
    x[:, :n] = X[start : start + n].T - (centre[:, None] if x.dtype == np.float32 else 0.0)


@vector_code(pack_tile)
def _pack_tile(X, start, n, centre, x):
    n_features = X.shape[1]
    width = x.shape[1]
    lanes = _VECTOR_BYTES // x.itemsize
    # Vectors are of neighbours in memory.
    whole = n - n % lanes if X.flags.c_contiguous else 0
    done = n_features - n_features % lanes
    for b in range(0, whole, lanes):
        for d in range(0, done, lanes):
            _transpose_all(X, start + b, n_features, d, centre, x, width, b)
    while n_features - done >= 4 and lanes >= 4:
        for b in range(0, whole, lanes):
            _transpose_4(X, start + b, n_features, done, centre, x, width, b)
        done += 4
    while n_features - done >= 2:
        for b in range(0, whole, lanes):
            _transpose_2(X, start + b, n_features, done, centre, x, width, b)
        done += 2
    if done < n_features:
        for b in range(0, whole, lanes):
            _transpose_1(X, start + b, n_features, done, centre, x, width, b)
    for b in range(whole, n):
        for d in range(n_features):
            if x.itemsize == 4:
                x[d, b] = X[start + b, d] - centre[d]
            else:
                x[d, b] = X[start + b, d]


@intrinsic
def _prefetch(typing_context, X, n_features, start, stop):
    number = X.dtype.bitwidth // 8

    def generate(code, X, n_features, start, stop):
        builder = code.builder
        size = builder.mul(builder.mul(builder.sub(stop, start), n_features), _index(number))
        n_lines = builder.udiv(builder.add(size, _index(_ALIGNMENT - 1)), _index(_ALIGNMENT))
        code.prefetch(code.at(X, (start, n_features)), n_lines)

    return _made(generate, X, X, n_features, start, stop)


def prefetch_rows(X, start, stop):
    """Ask the processor to have rows start .. stop of X (N, D) in cache soon; X C-contiguous, else nothing is done."""


@vector_code(prefetch_rows)
def _prefetch_rows(X, start, stop):
    if stop > start and X.flags.c_contiguous:
        _prefetch(X, X.shape[1], start, stop)


# Lines of cache asked for ahead of rows that lie anywhere: about as many as a core can wait for.
_LINES_AHEAD = 24


@intrinsic
def _copy_row(typing_context, X, row, n_features, out, position):
    def generate(code, X, row, n_features, out, position):
        source, target = code.at(X, (row, n_features)), code.at(out, (position, n_features))

        def block(size, begin):
            code.store(code.load(code.at(source, begin), ir.VectorType(code.number, size)), code.at(target, begin))

        code.by_sizes(n_features, block, [size for size in (16, 8, 4, 2, 1) if size <= code.lanes])

    return _made(generate, X, X, row, n_features, out, position)


def gather_rows(X, index, n, out):
    """Overwrite the first n rows of `out` (T, D) with rows index[:n] of X (N, D), of the same type, C-contiguous.

    `index` (T,) int64. Rows are asked for a few ahead, wherever they are. Thread-safe.
    """
    out[:n] = X[index[:n]]


@vector_code(gather_rows)
def _gather_rows(X, index, n, out):
    n_features = X.shape[1]
    ahead = max(_LINES_AHEAD * _ALIGNMENT // (n_features * X.itemsize), 1)
    for b in range(min(ahead, n)):
        _prefetch(X, n_features, index[b], index[b] + 1)
    for b in range(n):
        if b + ahead < n:
            _prefetch(X, n_features, index[b + ahead], index[b + ahead] + 1)
        _copy_row(X, index[b], n_features, out, b)


@intrinsic
def _add_row(typing_context, X, row, n_features, middle, factor, component, sums):
    source = _FLOAT if X.dtype == types.float32 else _DOUBLE

    def generate(code, X, row, n_features, middle, factor, component, sums):
        builder = code.builder
        start, target = code.at(X, (row, n_features)), code.at(sums, (component, n_features))
        undefined = ir.Constant(code.type, ir.Undefined)
        factors = builder.insert_element(undefined, factor, ir.Constant(_SHORT, 0))
        factors = _shuffle(builder, factors, undefined, [0] * code.lanes)

        def block(size, begin):
            kind = ir.VectorType(_DOUBLE, size)
            vector = code.load(code.at(start, begin), ir.VectorType(source, size))
            if source is _FLOAT:
                vector = builder.fpext(vector, kind)
            centred = builder.fsub(vector, code.load(code.at(middle, begin), kind))
            total = code.load(code.at(target, begin), kind)
            code.store(code.multiply_add(_part(builder, factors, 0, size), centred, total), code.at(target, begin))

        code.by_sizes(n_features, block, [size for size in (8, 4, 2, 1) if size <= code.lanes])

    return _made(generate, sums, X, row, n_features, middle, factor, component, sums)


def add_rows(X, index, n, middle, factor, component, sums):
    """Add factor[b] times the difference of row index[b] from `middle` to sums[component[b]], for b < n, in order.

    X (N, D) float32 or float64, C-contiguous; `index` and `component` (T,) int64; `middle` (D,), `factor` (T,) and
    `sums` (K, D) float64. Thread-safe.
    """
    for b in range(n):
        sums[component[b]] += factor[b] * (X[index[b]] - middle)


@vector_code(add_rows)
def _add_rows(X, index, n, middle, factor, component, sums):
    for b in range(n):
        _add_row(X, index[b], X.shape[1], middle, factor[b], component[b], sums)
