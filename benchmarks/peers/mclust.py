"""mclust's EM in R: all four families, in float64, on one thread.

apt install r-cran-mclust      # or install.packages("mclust") in R; any Python with NumPy

R stays, as this process does, and is given X once. Its time begins with an E-step, and is known to a millisecond.
"""

import subprocess
import tempfile
from pathlib import Path

import numpy as np

MODELS = {"full": "VVV", "tied": "EEE", "diag": "VVI", "spherical": "VII"}

R = subprocess.Popen(
    ["Rscript", str(Path(__file__).with_suffix(".R"))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
)

ABOUT = {"name": "mclust", "version": R.stdout.readline().strip(), "families": tuple(MODELS)}

known = None


def fit(problem, n_iterations, method):
    global known
    n_samples, n_features = problem.X.shape
    n_components = len(problem.weights)
    covariances = problem.covariances
    if problem.covariance_type == "spherical":
        covariances = covariances[:, None]
    if problem.covariance_type in ("diag", "spherical"):
        covariances = covariances[..., None] * np.eye(n_features)
    covariances = np.broadcast_to(covariances, (n_components, n_features, n_features))
    model = MODELS[problem.covariance_type]
    if n_features == 1:
        model = "E" if problem.covariance_type == "tied" else "V"
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        # Symmetric matrices and (K, D) means: the last index of ours is the first of R's.
        arrays = {
            "sizes": np.array([n_samples, n_features, n_components]),
            "weights": problem.weights,
            "means": problem.means,
            "covariances": covariances,
        }
        if problem is not known:
            arrays["X"] = problem.X.T
        for name, array in arrays.items():
            np.ascontiguousarray(array, np.float64).tofile(place / name)
        R.stdin.write(f"{folder} {model} {n_iterations} {'kept' if problem is known else 'again'}\n")
        R.stdin.flush()
        answer = R.stdout.readline()
        if not answer:
            raise RuntimeError("R died: its error is above")
        known = problem
        result = np.fromfile(place / "result")
    weights, means, covariances = np.split(result, np.cumsum([n_components, n_components * n_features]))
    covariances = covariances.reshape(n_components, n_features, n_features)
    if problem.covariance_type == "tied":
        covariances = covariances[0]
    elif problem.covariance_type == "diag":
        covariances = np.diagonal(covariances, axis1=1, axis2=2)
    elif problem.covariance_type == "spherical":
        covariances = covariances[:, 0, 0]
    return float(answer), (weights, means.reshape(n_components, n_features), covariances)
