"""gmmx, EM in JAX: full and diagonal covariances, in float32.

pip install gmmx      # in an environment of its own: it brings JAX

It is compiled for each number of iterations, before it is timed. Responsibilities of all rows are in memory at once,
and so are the differences of all rows from all means where the compiler does not fuse them away.
"""

import importlib.metadata
import time

import jax
from gmmx import EMFitter, GaussianMixtureModelJax

ABOUT = {
    "name": "gmmx",
    "version": importlib.metadata.version("gmmx"),
    "families": ("full", "diag"),
    "dtypes": ("float32",),
}


def fit(problem, n_iterations, method):
    start = GaussianMixtureModelJax.from_squeezed(
        problem.means, problem.covariances, problem.weights, covariance_type=problem.covariance_type
    )
    X = jax.numpy.asarray(problem.X)
    fitter = EMFitter(max_iter=n_iterations, tol=0.0, reg_covar=0.0)
    begin = time.perf_counter()
    result = jax.block_until_ready(fitter.fit(X, start))
    seconds = time.perf_counter() - begin
    if int(result.n_iter) != n_iterations:
        raise RuntimeError(f"gmmx stopped after {int(result.n_iter)} of {n_iterations} iterations")
    return seconds, (result.gmm.weights_numpy, result.gmm.means_numpy, result.gmm.covariances.values_numpy)
