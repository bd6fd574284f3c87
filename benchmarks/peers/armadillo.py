"""Armadillo's EM, ``gmm_full`` and ``gmm_diag``: full and diagonal covariances, parallel by OpenMP.

apt install libarmadillo-dev g++      # any Python with NumPy

Its variance floor is 0 here. ``learn`` also looks once at all of X for numbers that are not finite.
"""

import ctypes
import subprocess
import tempfile
from pathlib import Path

import numpy as np


def built():
    """Return the library made of ``armadillo.cpp``, for this machine's processor."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "armadillo.so"
        source = Path(__file__).with_suffix(".cpp")
        options = ["-O3", "-march=native", "-fopenmp", "-DARMA_NO_DEBUG", "-shared", "-fPIC"]
        subprocess.run(["c++", *options, str(source), "-o", str(path), "-larmadillo"], check=True)
        return ctypes.CDLL(str(path))


LIBRARY = built()
LIBRARY.version.restype = ctypes.c_char_p

ABOUT = {
    "name": "Armadillo",
    "version": LIBRARY.version().decode(),
    "families": ("full", "diag"),
    "dtypes": ("float64", "float32"),
}


def fit(problem, n_iterations, method):
    function = getattr(LIBRARY, f"{problem.covariance_type}_{problem.X.dtype}")
    function.restype = ctypes.c_double
    # A row-major (N, D) array is a column-major one of N columns.
    X = np.ascontiguousarray(problem.X)
    parameters = [np.array(array, order="C") for array in (problem.weights, problem.means, problem.covariances)]
    sizes = (*X.shape, len(problem.weights), n_iterations)
    seconds = function(
        X.ctypes.data_as(ctypes.c_void_p),
        *map(ctypes.c_size_t, sizes),
        *(array.ctypes.data_as(ctypes.c_void_p) for array in parameters),
    )
    if seconds < 0:
        raise RuntimeError("Armadillo's EM failed")
    return seconds, tuple(parameters)
