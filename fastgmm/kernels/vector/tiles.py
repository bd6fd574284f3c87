"""Tiles: feature-major buffers of rows, and how rows come into them."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from fastgmm.kernels.compiling import kernel
from fastgmm.kernels.vector.code import DOUBLE, FLOAT, LINE, exchanged, index, joined, vector_function

# Widths are multiples of this: whole chunks of vectors of either type and any processor, and no powers of two, which
# would put the rows of a tile in the same few places of a cache.
_WIDTH = 48
# Lines of cache asked for ahead of rows that lie anywhere: about as many as a core can wait for.
_LINES_AHEAD = 24


@kernel
def tile_width(rows):
    """Return the width of a buffer for a tile of so many rows: whole chunks."""
    return (rows + _WIDTH - 1) // _WIDTH * _WIDTH


@kernel
def tile_buffer(n_features, rows, like):
    """Return a zeroed array (n_features, tile_width(rows)) of the type of `like`, whose rows begin at cache lines."""
    width = tile_width(rows)
    padding = LINE // like.itemsize
    memory = np.zeros(n_features * width + padding, like.dtype)
    skip = -(memory.ctypes.data // like.itemsize) % padding
    return memory[skip : skip + n_features * width].reshape((n_features, width))


def copy_array(source, target):
    """Overwrite an array with another of the same type and size, both C-contiguous: a call, and no code for a loop."""
    target.reshape(-1)[:] = source.reshape(-1)


@vector_function(copy_array, like="source")
def _copy_array(code, source, target):
    builder, byte = code.builder, ir.IntType(8).as_pointer()
    size = index(source.kind.dtype.bitwidth // 8)
    for length in source.shape:
        size = builder.mul(size, length)
    pointers = (builder.bitcast(each.data, byte) for each in (target, source))
    cgutils.raw_memcpy(builder, *pointers, size, 1)


def _transpose(code, X, row, feature, centre, x, column, size):
    """Copy `size` features of a vector of rows to as many rows of a tile."""
    builder, n_features, width = code.builder, X.shape[1], x.shape[1]
    source = code.at(X.data, (row, n_features), feature)

    def piece(i):
        """Return row i's features."""
        pointer = code.at(source, (index(i), n_features))
        if X.kind.dtype == x.kind.dtype:
            return code.load(pointer, ir.VectorType(code.number, size))
        return builder.fpext(code.load(pointer, ir.VectorType(FLOAT, size)), ir.VectorType(DOUBLE, size))

    # Rows i, i + size, ... side by side; then the square blocks are transposed, all at once.
    vectors = [joined(builder, [piece(k) for k in range(i, code.lanes, size)]) for i in range(size)]
    bit = 1
    while bit < size:
        for i in range(size):
            if not i & bit:
                vectors[i], vectors[i | bit] = exchanged(builder, vectors[i], vectors[i | bit], bit)
        bit *= 2
    target = code.at(x.data, (feature, width), column)
    for i, vector in enumerate(vectors):
        if code.single:
            vector = builder.fsub(vector, code.splat(code.at(centre.data, feature, i)))
        code.store(vector, code.at(target, (index(i), width)))


def _copy_numbers(code, X, start, begin, end, centre, x):
    """Copy columns `begin` .. `end` of a tile one by one, from rows of any layout."""
    builder = code.builder
    source = builder.bitcast(X.data, ir.IntType(8).as_pointer())
    number = FLOAT if X.kind.dtype == types.float32 else DOUBLE
    with code.loop(end, begin) as columns, code.loop(X.shape[1]) as features:
        b, d = columns.index, features.index
        pointer = code.at(source, (builder.add(start, b), X.strides[0]), (d, X.strides[1]))
        value = builder.load(builder.bitcast(pointer, number.as_pointer()))
        if number != code.number:
            value = builder.fpext(value, code.number)
        if code.single:
            value = builder.fsub(value, builder.load(code.at(centre.data, d)))
        builder.store(value, code.at(x.data, (d, x.shape[1]), b))


def pack_tile(X, start, n, centre, x):
    """Copy rows start .. start+n of X (N, D), float32 or float64 of any layout, into the feature-major tile `x` (D, T).

    Into a float32 tile go the differences of float32 rows from `centre` (D,) float32; a float64 tile does not look at
    it.
    """
    x[:, :n] = X[start : start + n].T - (centre[:, None] if x.dtype == np.float32 else 0.0)


@vector_function(pack_tile, like="x")
def _pack_tile(code, X, start, n, centre, x):
    builder, n_features, lanes = code.builder, X.shape[1], index(code.lanes)
    whole = index(0)
    # Vectors are of neighbours in memory.
    if X.kind.layout == "C":
        whole = builder.sub(n, builder.urem(n, lanes))

        def rows(size, feature):
            with code.loop(builder.udiv(whole, lanes)) as vectors:
                column = builder.mul(vectors.index, lanes)
                _transpose(code, X, builder.add(start, column), feature, centre, x, column, size)

        # Row by row, while whole vectors of features are left.
        with code.loop(builder.udiv(whole, lanes)) as vectors, code.loop(builder.udiv(n_features, lanes)) as blocks:
            column = builder.mul(vectors.index, lanes)
            feature = builder.mul(blocks.index, lanes)
            _transpose(code, X, builder.add(start, column), feature, centre, x, column, code.lanes)
        rest = builder.urem(n_features, lanes)
        done = builder.sub(n_features, rest)
        sizes = [size for size in (4, 2, 1) if size < code.lanes]
        code.by_sizes(rest, lambda size, begin: rows(size, builder.add(done, begin)), sizes)
    _copy_numbers(code, X, start, whole, n, centre, x)


def _prefetch(code, X, start, stop):
    """Ask for rows start .. stop of C-contiguous X."""
    builder = code.builder
    numbers = builder.mul(builder.sub(stop, start), X.shape[1])
    size = builder.mul(numbers, index(X.kind.dtype.bitwidth // 8))
    n_lines = builder.udiv(builder.add(size, index(LINE - 1)), index(LINE))
    code.prefetch(code.at(X.data, (start, X.shape[1])), n_lines)


def prefetch_rows(X, start, stop):
    """Ask the processor to have rows start .. stop of X (N, D) in cache soon; X C-contiguous, else nothing is done."""


@vector_function(prefetch_rows, like="X")
def _prefetch_rows(code, X, start, stop):
    if X.kind.layout == "C":
        with code.builder.if_then(code.builder.icmp_signed(">", stop, start)):
            _prefetch(code, X, start, stop)


def gather_rows(X, index, n, out):
    """Overwrite the first n rows of `out` (T, D) with rows index[:n] of X (N, D), of the same type, C-contiguous.

    `index` (T,) int64. Rows are asked for a few ahead, wherever they are. Thread-safe.
    """
    out[:n] = X[index[:n]]


@vector_function(gather_rows, like="X")
def _gather_rows(code, X, indices, n, out):
    builder, n_features = code.builder, X.shape[1]

    def row(b):
        return builder.load(code.at(indices.data, b))

    def ask(b):
        _prefetch(code, X, row(b), builder.add(row(b), index(1)))

    row_bytes = code.greater(builder.mul(n_features, index(X.kind.dtype.bitwidth // 8)), index(1))
    ahead = code.greater(builder.udiv(index(_LINES_AHEAD * LINE), row_bytes), index(1))
    with code.loop(code.lesser(ahead, n)) as first:
        ask(first.index)
    with code.loop(n) as rows:
        later = builder.add(rows.index, ahead)
        with builder.if_then(builder.icmp_signed("<", later, n)):
            ask(later)
        source = code.at(X.data, (row(rows.index), n_features))
        target = code.at(out.data, (rows.index, n_features))

        def block(size, begin, source=source, target=target):
            code.store(code.load(code.at(source, begin), ir.VectorType(code.number, size)), code.at(target, begin))

        code.by_sizes(n_features, block, [size for size in (16, 8, 4, 2, 1) if size <= code.lanes])
