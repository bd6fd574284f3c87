"""pomegranate's EM, ``GeneralMixtureModel`` of ``Normal`` distributions, in PyTorch: full and diagonal covariances,
in float32 (it sums weights in float32 whatever the type of X).

pip install pomegranate      # in an environment of its own: it brings PyTorch

It takes second moments about the origin, not about the means.
"""

import importlib.metadata
import time

import torch
from pomegranate.distributions import Normal
from pomegranate.gmm import GeneralMixtureModel

ABOUT = {
    "name": "pomegranate",
    "version": importlib.metadata.version("pomegranate"),
    "families": ("full", "diag"),
    "dtypes": ("float32",),
}


def fit(problem, n_iterations, method):
    X, weights, means, covariances = map(
        torch.from_numpy, (problem.X, problem.weights, problem.means, problem.covariances)
    )
    model = GeneralMixtureModel(
        [
            Normal(mean, covariance, covariance_type=problem.covariance_type)
            for mean, covariance in zip(means, covariances, strict=True)
        ],
        priors=weights,
        max_iter=n_iterations,
        tol=-float("inf"),
    )
    begin = time.perf_counter()
    model.fit(X)
    seconds = time.perf_counter() - begin
    covariances = torch.stack([distribution.covs for distribution in model.distributions])
    means = torch.stack([distribution.means for distribution in model.distributions])
    return seconds, tuple(parameter.detach().numpy() for parameter in (model.priors, means, covariances))
