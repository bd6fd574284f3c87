"""oneDAL's EM for Gaussian mixtures, ``daal4py.em_gmm``: full and diagonal covariances, on all threads.

pip install scikit-learn-intelex      # in an environment of its own: it brings daal4py

It adds nothing to covariances that are well conditioned.
"""

import importlib.metadata
import time

import daal4py
import numpy as np

ABOUT = {
    "name": "oneDAL",
    "version": importlib.metadata.version("daal"),
    "families": ("full", "diag"),
    "dtypes": ("float64", "float32"),
}


def fit(problem, n_iterations, method):
    diagonal = problem.covariance_type == "diag"
    algorithm = daal4py.em_gmm(
        nComponents=len(problem.weights),
        fptype="float" if problem.X.dtype == np.float32 else "double",
        maxIterations=n_iterations,
        accuracyThreshold=0.0,
        covarianceStorage="diagonal" if diagonal else "full",
    )
    covariances = [np.atleast_2d(covariance) for covariance in problem.covariances]
    begin = time.perf_counter()
    result = algorithm.compute(problem.X, problem.weights[None, :], problem.means, covariances)
    seconds = time.perf_counter() - begin
    if result.nIterations.item() != n_iterations:
        raise RuntimeError(f"oneDAL stopped after {result.nIterations.item()} of {n_iterations} iterations")
    covariances = np.array(result.covariances)
    return seconds, (result.weights[0], result.means, covariances[:, 0] if diagonal else covariances)
