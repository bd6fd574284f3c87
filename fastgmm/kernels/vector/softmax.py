"""From the squared distances of a tile to responsibilities."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from fastgmm.kernels.compiling import LANES, vector_code
from fastgmm.kernels.vector.code import LINE, VECTORS, WIDE, index, section, vector_function

# Lines of cache that can come from memory while three vectors of one component are exponentiated, without waiting.
_MOST_LINES = 2


class _Softmax:
    """The columns of a tile, chunk by chunk: `distance` becomes `r`, by the steps below."""

    def __init__(self, code, log_scale, distance, r, sums):
        self._code, self._log_scale = code, log_scale
        self._distance, self._r, self._sums = distance, r, sums
        self._n_components, self._width = distance.shape
        builder, n_scales = code.builder, log_scale.shape[0]
        self._has_noise = builder.icmp_signed(">", n_scales, self._n_components)
        last = builder.load(code.at(log_scale.data, code.greater(builder.sub(n_scales, index(1)), index(0))))
        none = ir.Constant(last.type, float("-inf"))
        self._noise = code.copies(builder.select(self._has_noise, last, none))

    def _components(self):
        return self._code.loop(self._n_components)

    def _joint(self, component, scale, place):
        code = self._code
        distance = code.load(code.at(self._distance.data, (component, self._width), place))
        return code.multiply_add(code.constant(-0.5), distance, scale)

    def _share(self, component, place):
        return self._code.at(self._r.data, (component, self._width), place)

    def _sum(self, component):
        return self._code.at(self._sums.data, (component, LANES))

    def clear(self):
        with self._components() as components:
            self._code.store(ir.Constant(WIDE, None), self._sum(components.index))

    def find_peaks(self, places, peaks):
        """Set `peaks` to the highest log joints."""
        code = self._code
        code.fill(peaks, self._noise)
        with self._components() as components:
            scale = code.splat(code.at(self._log_scale.data, components.index))
            for peak, place in zip(peaks, places, strict=True):
                joint = self._joint(components.index, scale, place)
                code.builder.store(code.larger(joint, code.builder.load(peak)), peak)

    def exponentiate(self, places, peaks, totals, fetch):
        """Write exponentials relative to `peaks`, and set `totals` to their sums; ``fetch()`` after each component."""
        code = self._code
        code.fill(totals, code.zero)
        with code.builder.if_then(self._has_noise):
            for peak, total in zip(peaks, totals, strict=True):
                code.add(total, code.exponential(code.builder.fsub(self._noise, code.builder.load(peak))))
        with self._components() as components:
            scale = code.splat(code.at(self._log_scale.data, components.index))
            for peak, total, place in zip(peaks, totals, places, strict=True):
                joint = self._joint(components.index, scale, place)
                value = code.exponential(code.builder.fsub(joint, code.builder.load(peak)))
                code.store(value, self._share(components.index, place))
                code.add(total, value)
            fetch()

    def scale(self, places, shares):
        """Multiply exponentials by `shares`, and add them to the components' sums."""
        code, builder = self._code, self._code.builder
        with self._components() as components:
            values = []
            for share, place in zip(shares, places, strict=True):
                at = self._share(components.index, place)
                values.append(builder.fmul(code.load(at), share))
                code.store(values[-1], at)
            added = code.folded(builder.fadd(builder.fadd(values[0], values[1]), values[2]))
            at = self._sum(components.index)
            code.store(builder.fadd(code.load(at, WIDE), added), at)

    def finish(self, mass):
        """Overwrite `mass` with the sums over the lanes of the components' sums."""
        code, builder = self._code, self._code.builder
        with self._components() as components:
            lanes = code.load(self._sum(components.index), WIDE)
            while lanes.type.count > 1:
                half = lanes.type.count // 2
                lanes = builder.fadd(section(builder, lanes, 0, half), section(builder, lanes, half, half))
            total = builder.extract_element(lanes, ir.Constant(ir.IntType(32), 0))
            builder.store(total, code.at(mass.data, components.index))


def softmax_tile(log_scale, distance, n, weight, r, peak, total, mass, X, start, stop):
    """Turn squared distances into weighted responsibilities: log joint = log_scale - distance / 2.

    `log_scale` (K,), or (K + 1,) with the log joint of noise at its end; `distance` (K, T). Overwrites, for the first n
    columns, r (K, T), which may be `distance` itself, with weight (T,) times the softmax over components and noise;
    `peak` (T,) with the maximum of the log joint; `total` (T,) with the sum of its exponentials relative to the peak;
    and `mass` (K,) float64 with the sums of r over all columns. Without noise, a column whose distances all overflow
    becomes NaN. Thread-safe.

    Meanwhile the processor is asked to have rows start .. stop of X (N, D) in cache soon, as many as it can fetch in
    that time; returns the first row that was not asked for.
    """
    return _softmax(log_scale, distance, n, weight, r, peak, total, mass, np.empty((len(mass), 1)), X, start, stop)


@vector_code(softmax_tile)
def _softmax_tile(log_scale, distance, n, weight, r, peak, total, mass, X, start, stop):
    sums = np.empty((log_scale.shape[0], LANES))
    return _softmax(log_scale, distance, n, weight, r, peak, total, mass, sums, X, start, stop)


def _softmax(log_scale, distance, n, weight, r, peak, total, mass, sums, X, start, stop):
    """Do what :func:`softmax_tile` does; `sums` (K, LANES) is scratch."""
    joint = log_scale[: len(distance), None] - 0.5 * distance[:, :n]
    noise = log_scale[len(distance) :]
    peak[:n] = joint.max(axis=0, initial=noise.max(initial=-np.inf))
    share = np.exp(joint - peak[:n])
    total[:n] = share.sum(axis=0) + np.exp(noise[:, None] - peak[:n]).sum(axis=0)
    r[:, :n] = share * (weight[:n] / total[:n])
    mass[:] = r[:, :n].sum(axis=1)
    return start


@vector_function(_softmax, like="distance", returns=types.int64)
def _softmax_code(code, log_scale, distance, n, weight, r, peak, total, mass, sums, X, start, stop):
    builder, n_chunks = code.builder, code.chunks(n)
    # At least 1: nothing may be divided by 0.
    step_bytes = code.greater(builder.mul(builder.mul(distance.shape[0], n_chunks), index(LINE)), index(1))
    row_bytes = code.greater(builder.mul(X.shape[1], index(X.kind.dtype.bitwidth // 8)), index(1))
    n_lines = index(0)
    if X.kind.layout == "C":
        wanted = builder.mul(code.greater(builder.sub(stop, start), index(0)), row_bytes)
        # As many lines a step as there are bytes for, rounded up.
        n_lines = builder.sdiv(builder.sub(builder.add(wanted, step_bytes), index(1)), step_bytes)
        n_lines = code.lesser(n_lines, index(_MOST_LINES))
    at = cgutils.alloca_once_value(builder, code.at(X.data, (start, X.shape[1])))

    def fetch():
        code.prefetch(builder.load(at), n_lines)
        line_floats = LINE * 8 // X.kind.dtype.bitwidth
        builder.store(code.at(builder.load(at), (n_lines, line_floats)), at)

    softmax = _Softmax(code, log_scale, distance, r, sums)
    softmax.clear()
    peaks, totals = code.accumulators(VECTORS), code.accumulators(VECTORS)
    with code.columns(n_chunks) as places:
        softmax.find_peaks(places, peaks)
        softmax.exponentiate(places, peaks, totals, fetch)
        shares = []
        for v, place in enumerate(places):
            code.store(builder.load(peaks[v]), code.at(peak.data, place))
            code.store(builder.load(totals[v]), code.at(total.data, place))
            shares.append(builder.fdiv(code.load(code.at(weight.data, place)), builder.load(totals[v])))
        softmax.scale(places, shares)
    softmax.finish(mass)
    asked = builder.sdiv(builder.mul(n_lines, step_bytes), row_bytes)
    return code.lesser(builder.add(start, asked), stop)
