"""Three Gaussian components on two measurements of 150 irises: fit, label, compare with the species, draw.

Run it as ``python examples/iris.py [picture.png]``; without an argument it draws to iris.png.
"""

import sys

import numpy as np

from fastgmm import GaussianMixture
from fastgmm.datasets import load_iris
from fastgmm.plotting import plot_mixture


def main(picture: str = "iris.png") -> None:
    iris = load_iris()
    flowers = iris.data[:, :2]
    names = iris.feature_names[:2]

    model = GaussianMixture(n_components=3, covariance_type="full", random_state=0)
    labels = model.fit(flowers).predict(flowers)

    print(f"mean log-likelihood {model.score(flowers):.6f} after {model.n_iter_} iterations")
    print(f"converged: {'yes' if model.converged_ else 'no'}")

    print()
    print(f"{'species':<12}" + "".join(f"{'group ' + str(group):>9}" for group in range(3)))
    for species, name in enumerate(iris.target_names):
        counts = np.bincount(labels[iris.target == species], minlength=3)
        print(f"{name:<12}" + "".join(f"{count:>9}" for count in counts))

    axes = plot_mixture(model, flowers, feature_names=[f"{name.replace('_', ' ')} (cm)" for name in names])
    axes.figure.savefig(picture)
    print()
    print(f"the three groups are drawn in {picture}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
