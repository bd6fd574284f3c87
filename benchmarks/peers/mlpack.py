"""mlpack's EM, ``gmm_train``: full and diagonal covariances, in float64.

pip install mlpack

It starts with k-means, whatever model it is given: here of one iteration and always the same random numbers, which the
difference of two fits leaves out. So its iterations are as long as any, but its likelihood is not compared. It counts
from 1, so that n updates are its ``max_iterations`` n + 1. Covariances are not forced to be positive definite, which
would decompose each in every iteration.
"""

import importlib.metadata
import time

import numpy as np
from mlpack import gmm_train

ABOUT = {
    "name": "mlpack",
    "version": importlib.metadata.version("mlpack"),
    "families": ("full", "diag"),
    "same_start": False,
}


def fit(problem, n_iterations, method):
    begin = time.perf_counter()
    model = gmm_train(
        gaussians=len(problem.weights),
        input_=problem.X,
        max_iterations=n_iterations + 1,
        tolerance=0.0,
        diagonal_covariance=problem.covariance_type == "diag",
        no_force_positive=True,
        kmeans_max_iterations=1,
        seed=1,
    )["output_model"]
    seconds = time.perf_counter() - begin
    mixture = model.get_cpp_params()["GMM"]
    means, covariances = (
        np.array([component[name] for component in mixture["dists"]]) for name in ("mean", "covariance")
    )
    if problem.covariance_type == "diag":
        covariances = np.diagonal(covariances, axis1=1, axis2=2)
    return seconds, (np.ravel(mixture["weights"]), means.reshape(problem.means.shape), covariances)
