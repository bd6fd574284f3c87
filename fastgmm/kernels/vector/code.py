"""The language of vector code: register-blocked loops that a compiler does not find, with llvmlite.

What takes the time of a fit is a matrix times a tile of rows, a tile times itself, and exponentials. Plain loops reach
half of what a core can do: they store and reload partial results, or centre rows into a buffer first. Here a block of
8 x 3 vectors stays in registers while the features pass by. Vectors are as wide as the processor's (any width is
correct on any processor: LLVM splits them), and run over the rows of a feature-major tile.

The buffers of a tile come from :func:`fastgmm.kernels.vector.tiles.tile_buffer`, all of one type, float64 or float32,
which is the type the work is done in; sums over the rows of a tile end in float64. Whole chunks of columns are read and
written: what stands beyond the rows of a tile must be finite, and count for nothing (weight 0).

Each function exists twice: as vector code in compiled code, made by :func:`vector_function`, and as NumPy with
compilation switched off.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from fastgmm.kernels.compiling import HAS_32_REGISTERS, LANES, fused_multiply_add, vector_code
from fastgmm.kernels.vector import elementary

#: Vectors of a chunk of columns.
VECTORS = 3
#: Of a block of ROWS x VECTORS accumulators, together with what they are made of, none may leave the registers.
ROWS = 8 if HAS_32_REGISTERS else 4
HALVES = tuple(size for size in (8, 4, 2, 1) if size <= ROWS)
#: Up to so many features, a component is scored in one go, without blocks.
FEW = 7 if HAS_32_REGISTERS else 4
#: So many accumulators leave room for what they are made of.
MOST_SUMS = 24 if HAS_32_REGISTERS else 10
#: Bytes of a line of cache.
LINE = 64

# A permutation of two registers of 8 numbers is a table of 16.
EXP_TABLE = elementary.EXP_DOUBLE_OF_16 if LANES == 8 else None

DOUBLE = ir.DoubleType()
FLOAT = ir.FloatType()
#: Vectors of float64, in which sums end.
WIDE = ir.VectorType(DOUBLE, LANES)
_INDEX = ir.IntType(64)
_SHORT = ir.IntType(32)


def index(number: int) -> ir.Constant:
    """Return a constant of the type of indices."""
    return ir.Constant(_INDEX, number)


def _shuffle(builder, first, second, lanes):
    return builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(_SHORT, len(lanes)), lanes))


def exchanged(builder, first, second, bit):
    """Return both vectors with the lanes of `first` that have `bit` and those of `second` that have not exchanged."""
    lanes = first.type.count
    low = [i + lanes - bit if i & bit else i for i in range(lanes)]
    high = [i + lanes if i & bit else i + bit for i in range(lanes)]
    return _shuffle(builder, first, second, low), _shuffle(builder, first, second, high)


def joined(builder, vectors):
    """Return the lanes of vectors, a power of two of them, one after the other."""
    while len(vectors) > 1:
        lanes = list(range(2 * vectors[0].type.count))
        vectors = [_shuffle(builder, a, b, lanes) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
    return vectors[0]


def section(builder, vector, start, length):
    """Return the vector of so many lanes from `start` on."""
    return _shuffle(builder, vector, vector, list(range(start, start + length)))


class Code:
    """Vector instructions on numbers of one type, which vector functions are written in.

    Arithmetic is as it is written: never reordered, and a product is fused with a sum where it says so.
    """

    def __init__(self, builder, number):
        self.builder = builder
        self.single = number == types.float32
        self.lanes = LANES * (2 if self.single else 1)
        self.number = FLOAT if self.single else DOUBLE
        self.type = ir.VectorType(self.number, self.lanes)
        self.zero = ir.Constant(self.type, None)

    def at(self, pointer, *terms):
        """Return the pointer moved by a sum of terms; a term is an index, a number, or a pair to be multiplied."""
        for term in terms:
            if isinstance(term, tuple):
                term = self.builder.mul(*(index(t) if isinstance(t, int) else t for t in term))
            pointer = self.builder.gep(pointer, [index(term) if isinstance(term, int) else term])
        return pointer

    def load(self, pointer, kind=None):
        """Return the vector at a pointer, of this type or another `kind`."""
        kind = self.type if kind is None else kind
        return self.builder.load(self.builder.bitcast(pointer, kind.as_pointer()), align=self._align(kind))

    def store(self, value, pointer):
        """Write a vector to where a pointer points."""
        pointer = self.builder.bitcast(pointer, value.type.as_pointer())
        self.builder.store(value, pointer, align=self._align(value.type))

    @staticmethod
    def _align(kind):
        return 4 if kind.element == FLOAT else 8

    def copies(self, value):
        """Return a vector of copies of a number."""
        undefined = ir.Constant(self.type, ir.Undefined)
        vector = self.builder.insert_element(undefined, value, ir.Constant(_SHORT, 0))
        return _shuffle(self.builder, vector, undefined, [0] * self.lanes)

    def splat(self, pointer):
        """Return a vector of copies of the number that a pointer points to."""
        return self.copies(self.builder.load(pointer))

    def constant(self, value):
        """Return a vector of copies of a number that is known now."""
        return ir.Constant(self.type, [float(value)] * self.lanes)

    def multiply_add(self, a, b, c):
        """Return a * b + c."""
        return fused_multiply_add(self.builder, a, b, c)

    def subtract_product(self, c, a, b):
        """Return c - a * b."""
        return self.multiply_add(self.builder.fneg(a), b, c)

    def accumulators(self, number):
        """Return variables, zeroed here, that LLVM turns into registers."""
        variables = [cgutils.alloca_once(self.builder, self.type) for _ in range(number)]
        self.fill(variables, self.zero)
        return variables

    def fill(self, variables, value):
        """Set variables to a value."""
        for variable in variables:
            self.builder.store(value, variable)

    def add(self, variable, value):
        """Add a value to a variable."""
        self.builder.store(self.builder.fadd(self.builder.load(variable), value), variable)

    def add_product(self, variable, a, b):
        """Add a * b to a variable."""
        self.builder.store(self.multiply_add(a, b, self.builder.load(variable)), variable)

    def loop(self, count, start=None):
        """Return a context whose value's ``index`` runs from `start` (0) up to `count`."""
        return cgutils.for_range(self.builder, count, start)

    def unless_zero(self, pointer):
        """Return a context whose code runs unless a float64 is 0 (NaN is not)."""
        zero = ir.Constant(DOUBLE, 0.0)
        return self.builder.if_then(self.builder.fcmp_unordered("!=", self.builder.load(pointer), zero))

    def chunks(self, n):
        """Return the number of chunks of n columns."""
        columns = VECTORS * self.lanes
        return self.builder.udiv(self.builder.add(n, index(columns - 1)), index(columns))

    @contextlib.contextmanager
    def columns(self, n_chunks, together=VECTORS):
        """Return a context that runs over the columns of a tile; its value: where so many vectors begin in each row.

        Those of a whole chunk, or one by one: of large blocks LLVM would load too much ahead, more than registers hold.
        """
        with self.loop(self.builder.mul(n_chunks, index(VECTORS // together))) as loop:
            first = self.builder.mul(loop.index, index(together * self.lanes))
            yield [self.builder.add(first, index(v * self.lanes)) for v in range(together)]

    def by_sizes(self, count, block, sizes):
        """Make code that calls ``block(size, begin)`` for runs of the first size, then at most once of each other."""
        builder = self.builder
        done = cgutils.alloca_once(builder, _INDEX)
        builder.store(index(0), done)

        def step(size):
            begin = builder.load(done)
            block(size, begin)
            builder.store(builder.add(begin, index(size)), done)

        with self.loop(builder.udiv(count, index(sizes[0]))):
            step(sizes[0])
        for size in sizes[1:]:
            rest = builder.sub(count, builder.load(done))
            with builder.if_then(builder.icmp_signed(">=", rest, index(size))):
                step(size)

    def choose(self, number, case, sizes, default):
        """Make code that calls ``case(size)`` where `number` is one of the sizes, else ``default()``."""
        builder = self.builder
        end = builder.append_basic_block("chosen")
        other = builder.append_basic_block("other")
        switch = builder.switch(number, other)
        for size in sizes:
            block = builder.append_basic_block(f"size{size}")
            switch.add_case(index(size), block)
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
            vectors = [builder.fadd(*exchanged(builder, x, y, bit)) for x, y in pairs]
            bit *= 2
        return self.folded(vectors[0])

    def folded(self, vector):
        """Return a float64 vector (LANES) of the same sum."""
        if not self.single:
            return vector
        halves = [self.builder.fpext(section(self.builder, vector, i, LANES), WIDE) for i in (0, LANES)]
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
                part = total if length == LANES else section(builder, total, i * length, length)
                self.store(builder.fadd(self.load(pointer, part.type), part), pointer)

    def exponential(self, x):
        """Return e**x for x <= 0, within 1 ulp; 0 where e**x is not normal; NaN for NaN.

        e**x = 2**(k / n) * (1 + r + r**2 q(r)) for an integer k and n = 1, or n = 16 and a table in registers.
        """
        builder = self.builder
        constants = elementary.EXP_SINGLE if self.single else EXP_TABLE or elementary.EXP_DOUBLE
        parts = constants.table_size
        magic = self.constant(constants.magic)
        # What becomes of such numbers up to the end does not matter.
        under = builder.fcmp_ordered("<", x, self.constant(constants.lowest))
        # Adding the magic number rounds to an integer, which stands in the low bits of the sum.
        shifted = self.multiply_add(x, self.constant(parts * elementary.LOG2_E), magic)
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
        """Return the larger of two, `b` where one is NaN."""
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def lesser(self, a, b):
        """Return the lesser of two integers."""
        return self.builder.select(self.builder.icmp_signed("<", a, b), a, b)

    def greater(self, a, b):
        """Return the greater of two integers."""
        return self.builder.select(self.builder.icmp_signed(">", a, b), a, b)

    def prefetch(self, pointer, n_lines):
        """Ask for so many cache lines from a pointer on: to be read, into the first level of cache."""
        byte = ir.IntType(8).as_pointer()
        function = ir.FunctionType(ir.VoidType(), [byte, _SHORT, _SHORT, _SHORT])
        prefetch = cgutils.get_or_insert_function(self.builder.module, function, "llvm.prefetch.p0")
        hints = [ir.Constant(_SHORT, value) for value in (0, 3, 1)]
        begin = self.builder.bitcast(pointer, byte)
        with self.loop(n_lines) as lines:
            self.builder.call(prefetch, [self.at(begin, (lines.index, LINE)), *hints])


class Array:
    """An array as vector code takes it: the pointer `data`, and the values `shape` and, in bytes, `strides`."""

    def __init__(self, context, builder, kind, value):
        array = cgutils.create_struct_proxy(kind)(context, builder, value)
        self.data = array.data
        self.shape = cgutils.unpack_tuple(builder, array.shape)
        self.strides = cgutils.unpack_tuple(builder, array.strides)
        self.kind = kind


def _operand(context, builder, kind, value):
    """Return an argument as vector code takes it: an :class:`Array`, a record of operands, None, or a value."""
    if kind == types.none:
        return None
    if isinstance(kind, types.Array):
        return Array(context, builder, kind, value)
    if isinstance(kind, types.BaseNamedTuple):
        parts = enumerate(kind.types)
        return kind.instance_class(
            *(_operand(context, builder, part, builder.extract_value(value, i)) for i, part in parts)
        )
    return value


def _require_floats(name: str, kind: Any) -> None:
    """TypingError unless an array of the user is of a type that vectors are loaded in: others have other bits."""
    if isinstance(kind, types.Array) and kind.dtype not in (types.float32, types.float64):
        raise TypingError(
            f"{name} must be an array of float32 or float64, it is one of {kind.dtype}: give {name}.astype(np.float64)"
        )


def vector_function(stub: Callable[..., Any], like: str, returns: Any = types.none) -> Callable[..., None]:
    """Decorate ``generate(code, *operands)``, which writes what compiled code runs in place of `stub`.

    Operands stand for the arguments of `stub`, which is called by position; the work is done in the type of numbers of
    the argument `like`. What `generate` returns is a value of the type `returns`, or None.
    """
    names = list(inspect.signature(stub).parameters)
    position = names.index(like)

    def keep(generate: Callable[..., Any]) -> None:
        @intrinsic
        def run(typing_context, arguments):
            for name, kind in zip(names, arguments.types, strict=True):
                if name in ("X", "weight"):
                    _require_floats(name, kind)

            def emit(context, builder, signature, values):
                kinds = signature.args[0].types
                values = cgutils.unpack_tuple(builder, values[0])
                operands = [_operand(context, builder, *each) for each in zip(kinds, values, strict=True)]
                value = generate(Code(builder, kinds[position].dtype), *operands)
                return context.get_dummy_value() if value is None else value

            return returns(arguments), emit

        vector_code(stub)(lambda *arguments: run(arguments))

    return keep
