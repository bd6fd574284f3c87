"""Six components for 272 eruptions of Old Faithful, of which variational Bayes leaves two: fit, list, draw.

As in figure 10.6 of Bishop, Pattern Recognition and Machine Learning (2006): the prior of the weights is a Dirichlet
distribution of concentration 0.001.  There the columns are standardised first.  Here they stay in minutes, because the
default prior takes its mean and its covariance from the data, and so moves with their units.

Run it as ``python examples/old_faithful.py [picture.png]``; without an argument it draws to old_faithful.png.
"""

import sys

import numpy as np
from matplotlib.figure import Figure

from fastgmm import BayesianGaussianMixture
from fastgmm.datasets import load_faithful
from fastgmm.plotting import plot_mixture


def main(picture: str = "old_faithful.png") -> None:
    faithful = load_faithful()
    names = [f"{name} (min)" for name in faithful.feature_names]
    figure = Figure(figsize=(11.0, 4.6), dpi=150, layout="constrained")
    before, after = figure.subplots(1, 2, sharex=True, sharey=True)

    # Without an iteration a fit ends where it starts: at the clusters of k-means.
    model = BayesianGaussianMixture(
        n_components=6,
        weight_concentration_prior_type="dirichlet_distribution",
        weight_concentration_prior=1e-3,
        max_iter=0,
        random_state=0,
    ).fit(faithful.data)
    plot_mixture(model, faithful.data, before, feature_names=names)

    model.set_params(max_iter=1000, warm_start=True).fit(faithful.data)
    plot_mixture(model, faithful.data, after, feature_names=names)

    print(f"evidence lower bound {model.lower_bound_:.3f} after {model.n_iter_} iterations")
    print(f"converged: {'yes' if model.converged_ else 'no'}")
    print(f"effective components: {model.n_effective_components_} of {model.n_components}")

    print()
    print(f"{'component':<12}" + "".join(f"{name:>16}" for name in ("weight", *names)))
    for k in np.flatnonzero(model.component_mass_ >= 1):
        print(f"{k:<12}" + "".join(f"{value:>16.4g}" for value in (model.weights_[k], *model.means_[k])))

    figure.savefig(picture)
    print()
    print(f"the components before and after are drawn in {picture}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
