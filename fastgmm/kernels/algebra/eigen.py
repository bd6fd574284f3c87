"""Rotations of symmetric matrices, and their eigenvalues: no LAPACK, and the same bits with any number of threads."""

from __future__ import annotations

import math

from fastgmm.kernels.compiling import exact_kernel

# Sweeps converge quadratically: more than ten are for matrices that hold no numbers.
_SWEEPS = 50
# An entry is 0 beside the roots of its two diagonal entries.
_ROUNDING = 1.1102230246251565e-16


@exact_kernel
def rotate(matrix, a, b, cosine, sine):
    """Overwrite the symmetric `matrix` (D, D), both triangles, with itself in axes of which a and b are turned.

    Axis a becomes cosine a + sine b, and axis b becomes cosine b - sine a.
    """
    first, second, both = matrix[a, a], matrix[b, b], matrix[a, b]
    for i in range(matrix.shape[0]):
        left, right = matrix[i, a], matrix[i, b]
        matrix[i, a] = matrix[a, i] = cosine * left + sine * right
        matrix[i, b] = matrix[b, i] = cosine * right - sine * left
    matrix[a, a] = cosine * (cosine * first + sine * both) + sine * (cosine * both + sine * second)
    matrix[b, b] = cosine * (cosine * second - sine * both) - sine * (cosine * both - sine * first)
    matrix[a, b] = matrix[b, a] = cosine * (cosine * both - sine * first) + sine * (cosine * second - sine * both)


@exact_kernel
def rotate_rows(axes, a, b, cosine, sine):
    """Overwrite rows a and b of `axes` as :func:`rotate` turns axes."""
    for i in range(axes.shape[1]):
        left, right = axes[a, i], axes[b, i]
        axes[a, i] = cosine * left + sine * right
        axes[b, i] = cosine * right - sine * left


@exact_kernel
def eigen(matrix, values, axes):
    """Overwrite `values` (D,) with the eigenvalues of the symmetric `matrix` (D, D), the largest first.

    And the rows of `axes` (D, D) with their eigenvectors, and `matrix`, of which both triangles are read, with rounding
    errors. Jacobi's cyclic rotations, which leave small eigenvalues of well-scaled matrices their digits.
    """
    n = matrix.shape[0]
    for i in range(n):
        for j in range(n):
            axes[i, j] = 1.0 if i == j else 0.0
    for _ in range(_SWEEPS):
        is_diagonal = True
        for a in range(n):
            for b in range(a + 1, n):
                both = matrix[a, b]
                if abs(both) > _ROUNDING * math.sqrt(abs(matrix[a, a])) * math.sqrt(abs(matrix[b, b])):
                    is_diagonal = False
                    gap = matrix[a, a] - matrix[b, b]
                    length = math.hypot(gap, 2.0 * both)
                    tangent = 2.0 * both / (gap + length if gap >= 0.0 else gap - length)
                    cosine = 1.0 / math.sqrt(1.0 + tangent * tangent)
                    rotate(matrix, a, b, cosine, tangent * cosine)
                    rotate_rows(axes, a, b, cosine, tangent * cosine)
        if is_diagonal:
            break
    for i in range(n):
        values[i] = matrix[i, i]
    for i in range(n):
        largest = i
        for j in range(i + 1, n):
            if values[j] > values[largest]:
                largest = j
        values[i], values[largest] = values[largest], values[i]
        for j in range(n):
            axes[i, j], axes[largest, j] = axes[largest, j], axes[i, j]
