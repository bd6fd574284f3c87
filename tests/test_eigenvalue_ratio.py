"""A limit on the ratio of eigenvalues: beside minimisers by brute force, and every way of fitting at its maximum."""

import pickle

import numpy as np
import pytest
from conftest import read_columns
from scipy.optimize import minimize, minimize_scalar
from scipy.stats import multivariate_normal

from fastgmm import GaussianMixture, NormalInverseWishart, cli, fit_many
from fastgmm.datasets import load_iris
from fastgmm.families import FAMILIES
from fastgmm.inference import likelihood_bootstrap, standard_errors
from fastgmm.io import load_model, save_model
from fastgmm.rules.eigenvalues import limited, truncated

IRIS = read_columns("iris")
SPECIES = np.unique(load_iris().target, return_inverse=True)[1]
TIGHT = {"reg_covar": 0.0, "tol": 1e-13, "max_iter": 5000}


def loss_at(least, values, counts, ratio):
    """Return the loss of a lower end of the interval, written down."""
    kept = np.clip(values, least, ratio * least)
    return (counts[:, None] * (np.log(kept) + values / kept)).sum()


@pytest.mark.parametrize("ratio", [1.0, 1.7, 20.0, 1e6])
@pytest.mark.parametrize("seed", range(5))
def test_the_interval_is_the_best_of_all(ratio, seed):
    rng = np.random.default_rng(seed)
    values, counts = np.exp(rng.normal(0.0, 4.0, size=(3, 4))), rng.uniform(1.0, 50.0, 3)
    values[0, :2] = 0.0 if seed % 2 else values[0, :2]
    kept = truncated(values, counts, ratio)
    assert kept.max() <= ratio * kept.min() * (1 + 1e-12)
    inside = (counts[:, None] * (np.log(kept) + values / kept)).sum()
    ends = np.geomspace(1e-9 * values.max(), values.max(), 4001)
    losses = [loss_at(end, values, counts, ratio) for end in ends]
    around = ends[np.clip(np.argmin(losses) + [-1, 1], 0, 4000)]
    best = minimize_scalar(
        lambda log: loss_at(np.exp(log), values, counts, ratio),
        bounds=np.log(around),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert inside == pytest.approx(min(best.fun, min(losses)), rel=1e-12)
    # The units of values and counts do not matter.
    np.testing.assert_allclose(truncated(1e-150 * values, counts, ratio), 1e-150 * kept, rtol=1e-12)
    np.testing.assert_allclose(truncated(1e150 * values, 1e-100 * counts, ratio), 1e150 * kept, rtol=1e-12)


def test_what_needs_no_limit_stays_and_what_is_empty_has_one():
    values = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert truncated(values, np.ones(2), 4.0) is values
    matrices = np.array([np.diag([1.0, 4.0]), np.eye(2)])
    assert limited(FAMILIES["full"], matrices, np.ones(2), 4.0) is matrices
    nothing = np.zeros((2, 2))
    assert truncated(nothing, np.ones(2), 4.0) is nothing
    kept = truncated(np.array([[1.0, 2.0], [0.0, 0.0]]), np.array([5.0, 0.0]), 1e3)
    assert kept[0].tolist() == [1.0, 2.0]
    assert np.isfinite(kept).all()
    assert kept[1].min() > 0.0


def test_matrices_of_the_limit_are_best_of_all():
    """Over all pairs of matrices whose eigenvalues are within the ratio, not only those of the same eigenvectors."""
    rng = np.random.default_rng(2)
    roots = rng.normal(size=(2, 2, 2)) * [[[1.0]], [[5.0]]]
    scatters, counts, ratio = roots @ roots.transpose(0, 2, 1), np.array([3.0, 7.0]), 3.0
    found = limited(FAMILIES["full"], scatters, counts, ratio)

    def of(at):
        turn = np.array([[[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]] for a in at[:2]])
        share = 1.0 / (1.0 + np.exp(-at[2:6].reshape(2, 2)))
        values = np.exp(at[6]) * ratio**share
        return np.einsum("kij,kj,klj->kil", turn, values, turn)

    def loss(matrices):
        return counts @ (np.log(np.linalg.det(matrices)) + np.einsum("kij,kji->k", np.linalg.inv(matrices), scatters))

    starts = (rng.normal(size=7) for _ in range(4))
    best = min(minimize(lambda at: loss(of(at)), start, method="BFGS").fun for start in starts)
    assert loss(found) <= best + 1e-9
    # The best is at ends of the interval, where shares come to by and by.
    assert loss(found) == pytest.approx(best, abs=1e-3)


# -- every way of fitting ---------------------------------------------------------------------------------------------


def ratio_of(model):
    """Return the ratio of the largest to the smallest eigenvalue of a fitted mixture."""
    family, covariances = model._covariances()
    values = np.linalg.eigvalsh(family.matrices(covariances, *model.means_.shape))
    return values.max() / values.min()


def twin(X, labels, ratio, n_updates):
    """EM of full covariances, with the best interval by search, written down; return the bound of each update."""
    shares, bounds = np.eye(3)[labels], []
    for _ in range(n_updates + 1):
        mass = shares.sum(axis=0)
        means = shares.T @ X / mass[:, None]
        gaps = X[None] - means[:, None]
        values, vectors = np.linalg.eigh(np.einsum("nk,kni,knj->kij", shares, gaps, gaps) / mass[:, None, None])
        ends = np.geomspace(values.max() / 1e4, values.max(), 400)
        middle = ends[np.argmin([loss_at(end, values, mass, ratio) for end in ends])]
        found = minimize_scalar(
            lambda log, values=values, mass=mass: loss_at(np.exp(log), values, mass, ratio),
            bounds=np.log([middle / 1.05, middle * 1.05]),
            method="bounded",
            options={"xatol": 1e-12},
        )
        end = np.exp(found.x)
        matrices = np.einsum("kij,kj,klj->kil", vectors, np.clip(values, end, ratio * end), vectors)
        laws = [multivariate_normal(m, S).logpdf(X) for m, S in zip(means, matrices, strict=True)]
        joint = np.log(mass / len(X)) + np.column_stack(laws)
        evidence = np.logaddexp.reduce(joint, axis=1)
        shares = np.exp(joint - evidence[:, None])
        bounds.append(evidence.mean())
    return means, matrices, bounds[1:]


@pytest.mark.parametrize("ratio", [1.0, 6.0])
def test_a_fit_is_the_twins(ratio):
    params = {"init_params": SPECIES, "max_eigenvalue_ratio": ratio, "reg_covar": 0.0}
    model = GaussianMixture(3, max_iter=8, tol=0.0, **params)
    with pytest.warns(UserWarning, match="did not converge"):
        model.fit(IRIS)
    means, matrices, bounds = twin(IRIS, SPECIES, ratio, 8)
    np.testing.assert_allclose(model.means_, means, rtol=1e-6)
    np.testing.assert_allclose(model.covariances_, matrices, atol=1e-6)
    np.testing.assert_allclose(model.lower_bounds_, bounds, rtol=1e-8)
    if ratio == 1.0:
        one = GaussianMixture(3, covariance_type="tied-spherical", init_params=SPECIES, **TIGHT).fit(IRIS)
        assert model.set_params(**TIGHT).fit(IRIS).lower_bound_ == pytest.approx(one.lower_bound_, abs=1e-10)


HOLES = np.where((7 * np.arange(150)[:, None] + 3 * np.arange(4)) % 5 == 0, np.nan, IRIS)
KNOWN = np.where(np.arange(150) % 5 == 0, SPECIES, -1)
WAYS = [
    {},
    {"accelerate": "squarem"},
    {"accelerate": "anderson"},
    {"n_init": 3},
    {"missing": "marginal"},
    {"noise": True},
    {"equal_weights": True},
    {"prior": NormalInverseWishart(2.0)},
    {"labels": KNOWN},
    {"sample_covariance": np.full(4, 0.01)},
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: next(iter(way), "plain"))
@pytest.mark.parametrize("name", ["full", "diag"])
def test_every_way_of_fitting_stays_within_and_rises(name, way):
    arguments = {each: value for each, value in way.items() if each in ("labels", "sample_covariance")}
    params = {each: value for each, value in way.items() if each not in arguments}
    X = HOLES if "missing" in way else IRIS
    model = GaussianMixture(3, covariance_type=name, max_eigenvalue_ratio=4.0, random_state=0, **params)
    model.set_params(reg_covar=0.0, tol=1e-8, max_iter=3000)
    model.fit(X, sample_weight=1.0 + np.arange(150) % 3, **arguments)
    assert ratio_of(model) == pytest.approx(4.0, rel=1e-8)
    assert np.diff(model.lower_bounds_).min() > -1e-12


@pytest.mark.parametrize("name", ["full", "diag", "spherical", "tied", "tied-diag", "tied-spherical"])
def test_families_and_starts_outside(name):
    wide = GaussianMixture(3, covariance_type=name, random_state=0, tol=1e-8, max_iter=1000).fit(IRIS)
    params = wide.get_params() | {"max_eigenvalue_ratio": 1.001 * ratio_of(wide)}
    same = GaussianMixture(**params).fit(IRIS)
    # On the way it may be at the limit.
    np.testing.assert_allclose(same.covariances_, wide.covariances_, rtol=1e-3)
    # A start is brought within: from there the bound does not fall.
    wide.set_params(warm_start=True, max_eigenvalue_ratio=1.4, reg_covar=0.0).fit(IRIS)
    assert ratio_of(wide) <= 1.4 * (1 + 1e-9)
    assert np.diff(wide.lower_bounds_).min(initial=0.0) > -1e-12
    # And one without a limit goes on from there.
    low = wide.lower_bound_
    wide.set_params(max_eigenvalue_ratio=None).fit(IRIS)
    if name != "tied-spherical":
        assert wide.lower_bound_ > low + 0.01


@pytest.mark.parametrize(("offset", "scale"), [(1e8, 1.0), (0.0, 1e140), (0.0, 1e-140)])
def test_far_and_huge(offset, scale):
    params = {"init_params": SPECIES, "max_eigenvalue_ratio": 3.0} | TIGHT | {"tol": 1e-10}
    X = np.round(IRIS * 4096) / 4096
    near, far = (GaussianMixture(3, **params).fit(Y) for Y in (X, X * scale + offset))
    np.testing.assert_allclose((far.means_ - offset) / scale, near.means_, atol=1e-5)
    np.testing.assert_allclose(far.covariances_ / scale / scale, near.covariances_, atol=1e-5)


def test_copies_and_flat_groups_have_a_limit():
    """Where the likelihood has none, and nothing is added to variances."""
    line = np.outer(np.linspace(0.0, 1.0, 40), [1.0, 2.0])
    cloud = np.random.default_rng(0).normal(size=(60, 2)) + [6.0, 0.0]
    X = np.vstack([line, cloud, np.tile([[20.0, 20.0]], (15, 1))])
    labels = np.repeat([0, 1, 2], [40, 60, 15])
    with pytest.raises(ValueError, match="component"):
        GaussianMixture(3, init_params=labels, **TIGHT).fit(X)
    model = GaussianMixture(3, init_params=labels, max_eigenvalue_ratio=50.0, **TIGHT).fit(X)
    assert ratio_of(model) == pytest.approx(50.0, rel=1e-8)
    np.testing.assert_array_equal(model.predict(X), labels)
    assert model.spurious_ == []
    assert np.diff(model.lower_bounds_).min(initial=0.0) > -1e-12
    with pytest.raises(ValueError, match="component"):
        GaussianMixture(2, max_eigenvalue_ratio=50.0, init_params=np.arange(20) % 2, **TIGHT).fit(
            np.ones((20, 2)) * 1e8
        )


def test_batches_files_and_checkpoints(tmp_path):
    params = {"max_eigenvalue_ratio": 4.0, "init_params": "k-means++", "random_state": 0} | TIGHT
    whole = GaussianMixture(2, **params).fit(IRIS)
    np.save(tmp_path / "X.npy", IRIS)
    np.testing.assert_array_equal(GaussianMixture(2, **params).fit(tmp_path / "X.npy").means_, whole.means_)
    learned = GaussianMixture(2, **params | {"max_iter": 2, "tol": 1e3})
    bounds = []
    for turn in range(120):
        learned.partial_fit(IRIS[turn % 4 :: 4], batch=turn % 4)
        bounds.append(learned.lower_bound_)
    assert np.diff(bounds[3:]).min() > -1e-12
    assert ratio_of(learned) == pytest.approx(4.0, rel=1e-8)
    assert learned.lower_bound_ == pytest.approx(whole.lower_bound_, abs=1e-6)
    model = GaussianMixture(2, checkpoint=tmp_path / "c", **params | {"max_iter": 3, "tol": 1e3}).fit(IRIS)
    with pytest.raises(ValueError, match=r"max_eigenvalue_ratio was 4\.0 and is 5\.0"):
        model.set_params(max_eigenvalue_ratio=5.0).fit(IRIS)
    for name in ("m.json", "m.npz"):
        save_model(whole, tmp_path / name)
        again = load_model(tmp_path / name)
        assert again.max_eigenvalue_ratio == 4.0
        np.testing.assert_allclose(again.update(again.statistics(IRIS)).means_, whole.means_, rtol=1e-6)
    assert ratio_of(pickle.loads(pickle.dumps(whole))) == ratio_of(whole)
    assert cli.main(["fit", "-k", "2", "--max-eigenvalue-ratio", "4", "iris", "-o", str(tmp_path / "cli.json")]) == 0
    assert ratio_of(load_model(tmp_path / "cli.json")) == pytest.approx(4.0, rel=1e-6)
    assert cli.main(["fit", "-k", "2", "--max-eigenvalue-ratio", "0.5", "iris"]) == 2
    assert cli.main(["fit", "-k", "2", "--max-eigenvalue-ratio", "4", "--method", "vb", "iris"]) == 2
    both = ["fit", "-k", "2", "--max-eigenvalue-ratio", "4", "--standardize", "iris", "-o", str(tmp_path / "s.json")]
    assert cli.main(both) == 0
    # In the units of the data it is another limit.
    assert load_model(tmp_path / "s.json").max_eigenvalue_ratio is None


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"max_eigenvalue_ratio": 0.5},
            r"max_eigenvalue_ratio must be None or a float in the range \[1, inf\), got 0.5",
        ),
        ({"max_eigenvalue_ratio": np.nan}, "max_eigenvalue_ratio must be None or a float"),
        ({"max_eigenvalue_ratio": True}, "max_eigenvalue_ratio must be None or a float"),
        ({"max_eigenvalue_ratio": 4.0, "covariance_type": "VEI"}, "max_eigenvalue_ratio must be None with .* 'VEI'"),
        (
            {"max_eigenvalue_ratio": 4.0, "frozen": {"means": [0]}, "means_init": IRIS[:2]},
            "frozen must be None with max_eigenvalue_ratio=4.0",
        ),
    ],
)
def test_what_does_not_go(params, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(2, **params).fit(IRIS)


def test_what_does_not_know_limits():
    model = GaussianMixture(2, max_eigenvalue_ratio=4.0, random_state=0).fit(IRIS)
    with pytest.raises(ValueError, match="fit_many cannot fit with max_eigenvalue_ratio=4"):
        fit_many(model, [IRIS])
    with pytest.raises(ValueError, match="standard_errors is not for mixtures fitted with a prior or max_eigenvalue_r"):
        standard_errors(model, IRIS)
    with pytest.raises(ValueError, match="likelihood_bootstrap is not for mixtures with max_eigenvalue_ratio"):
        likelihood_bootstrap(model, IRIS)
    with pytest.raises(ValueError, match="what must not hold 'covariances' with max_eigenvalue_ratio"):
        model.adapt(IRIS[:20], what="covariances")
    assert model.adapt(IRIS[:20]).max_eigenvalue_ratio == 4.0
