"""Arrays whose views count no references, and how to keep their owners."""

from __future__ import annotations

from numba.core import cgutils, types
from numba.extending import intrinsic

from fastgmm.kernels.compiling.functions import vector_code


def _without_owner(context, builder, kind, value):
    if isinstance(kind, types.BaseTuple):  # type: ignore[attr-defined]
        for i, part in enumerate(kind.types):
            element = _without_owner(context, builder, part, builder.extract_value(value, i))
            value = builder.insert_value(value, element, i)
        return value
    if not isinstance(kind, types.Array):
        return value
    array = context.make_array(kind)(context, builder, value)
    array.meminfo = cgutils.get_null_value(array.meminfo.type)
    return array._getvalue()


@intrinsic
def _borrow(typing_context, arrays):
    def generate(context, builder, signature, values):
        return _without_owner(context, builder, signature.args[0], values[0])

    return arrays(arrays), generate


@intrinsic
def _keep(typing_context, arrays):
    def generate(context, builder, signature, values):
        return context.get_dummy_value()

    return types.void(arrays), generate


def borrowed(arrays):
    """Return an array, or a tuple or NamedTuple of arrays, whose views and fields count no references.

    Counting takes two atomic additions, each time an array is named: for problems of a few rows, more than the
    arithmetic. Whoever borrows must see that the owner lives: it is an argument of the compiled function, or
    :func:`keep` is called for it afterwards.
    """
    return arrays


@vector_code(borrowed)
def _borrowed(arrays):
    return _borrow(arrays)


def keep(arrays):
    """Keep an array, or a tuple of arrays, alive up to here."""


@vector_code(keep)
def _kept(arrays):
    _keep(arrays)
