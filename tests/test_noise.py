"""Uniform noise beside the components, beside mclust's numbers, a slow twin, and what it must not change."""

import pickle

import numpy as np
import pytest

import fastgmm
from fastgmm import GaussianMixture, analysis, cli, datasets, inference, io, reading
from fastgmm.passes.expectation import e_step
from fastgmm.passes.scores import Scores
from fastgmm.rows import ArrayRows
from fastgmm.starts.noise import far_from_neighbours

FAITHFUL = np.asarray(datasets.load_faithful().data, np.float64)
EXACT = {"reg_covar": 0.0, "tol": 1e-12, "max_iter": 10_000}
# Of faithful and a regular grid over its bounding box, from waiting > 68 and the grid as noise.
PUBLISHED = {
    "full": (-1367.950841578, 13),
    "tied": (-1379.573498748, 10),
    "diag": (-1373.584442956, 11),
    "spherical": (-1570.391026390, 9),
}


@pytest.fixture(scope="module")
def gridded():
    """Faithful and a grid of 36 rows over its bounding box, and where a fit starts."""
    low, high = FAITHFUL.min(axis=0), FAITHFUL.max(axis=0)
    grid = [[a, b] for b in np.linspace(low[1], high[1], 6) for a in np.linspace(low[0], high[0], 6)]
    return np.vstack([FAITHFUL, grid]), np.append(FAITHFUL[:, 1] > 68.0, np.full(36, -1)).astype(np.int64)


@pytest.fixture(scope="module")
def fitted(gridded):
    return GaussianMixture(2, noise=True, random_state=0, tol=1e-9, max_iter=1000).fit(gridded[0])


def joint_of(model, X):
    """Return the log joint densities of rows with each component, and at the end with noise, as (N, K + 1)."""
    family, covariances = model._covariances()
    columns = []
    matrices = family.matrices(covariances, *model.means_.shape)
    for weight, mean, matrix in zip(model.weights_, model.means_, matrices, strict=True):
        gap = X - mean
        square = (gap @ np.linalg.inv(matrix) * gap).sum(axis=1)
        columns.append(np.log(weight) - 0.5 * (square + np.linalg.slogdet(2 * np.pi * matrix)[1]))
    columns.append(np.full(len(X), np.log(model.noise_weight_) - model.noise_log_volume_))
    return np.stack(columns, axis=1)


# -- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", PUBLISHED)
def test_published_fits(gridded, covariance_type):
    X, labels = gridded
    model = GaussianMixture(2, covariance_type=covariance_type, noise=True, init_params=labels, **EXACT).fit(X)
    log_likelihood, n_parameters = PUBLISHED[covariance_type]
    assert model.score(X) * 308 == pytest.approx(log_likelihood, abs=1e-7)
    assert model.bic(X) == pytest.approx(-2 * log_likelihood + n_parameters * np.log(308), abs=1e-6)
    assert np.exp(model.noise_log_volume_) == pytest.approx(185.5, rel=1e-12)
    assert np.diff(model.lower_bounds_).min() > -1e-12
    if covariance_type == "full":
        np.testing.assert_allclose(model.weights_, [0.284013583, 0.521669998], atol=1e-6)
        assert model.noise_weight_ == pytest.approx(0.194316419, abs=1e-6)
        np.testing.assert_allclose(model.means_, [[1.99002376, 53.97720531], [4.32630902, 80.18268192]], atol=1e-5)
        first = [[0.04412714, 0.27832327], [0.27832327, 30.69593641]]
        np.testing.assert_allclose(model.covariances_[0], first, atol=1e-4)


def test_the_start_finds_the_published_optimum_by_itself(gridded):
    X, _ = gridded
    for covariance_type in ("full", "tied"):
        params = EXACT | {"covariance_type": covariance_type, "random_state": 0}
        assert GaussianMixture(2, noise=True, **params).fit(X).score(X) * 308 == pytest.approx(
            PUBLISHED[covariance_type][0], abs=1e-6
        )


def test_volumes_are_mclusts():
    for X, volume in ((FAITHFUL, 131.8688010035), (datasets.load_iris().data, 27.2411996223)):
        model = GaussianMixture(2, noise=True, random_state=0, tol=0.1).fit(X)
        assert np.exp(model.noise_log_volume_) == pytest.approx(volume, rel=1e-10)
        corner, *edges = model.noise_box_
        assert abs(np.linalg.det(edges)) == pytest.approx(volume, rel=1e-10)
        # All rows are in the box.
        inside = np.linalg.solve(np.transpose(edges), (X - corner).T)
        assert inside.min() > -1e-10
        assert inside.max() < 1 + 1e-10


def test_given_volume_is_a_known_parameter(gridded, fitted):
    X, labels = gridded
    model = GaussianMixture(2, noise=185.5, init_params=labels, **EXACT).fit(X)
    assert model.score(X) * 308 == pytest.approx(PUBLISHED["full"][0], abs=1e-7)
    assert model.aic(X) - (-2 * model.score(X) * 308) == pytest.approx(2 * 12)
    assert np.abs(model.noise_box_ - fitted.noise_box_).max() < 1e-10


@pytest.mark.parametrize("volume", [True, 185.5])
def test_criteria_count_what_was_fitted(gridded, tmp_path, volume):
    X, labels = gridded
    model = GaussianMixture(2, noise=volume, init_params=labels, **EXACT).fit(X)
    before = model.bic(X)
    assert model.set_params(noise=5.0 if volume is True else True).bic(X) == before
    io.save_model(model, tmp_path / "model.json")
    assert io.load_model(tmp_path / "model.json").bic(X) == before
    model.update(model.statistics(X))
    assert model.bic(X) == pytest.approx(before, rel=1e-9)
    # The components alone have no parameter of noise.
    assert model.without_noise()._n_parameters() == 11


# -- beside a slow twin -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical", "VEV"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_sums_and_scores_beside_a_slow_twin(gridded, covariance_type, dtype):
    X, labels = gridded[0].astype(dtype), gridded[1]
    weight = np.arange(308) % 4.0
    params = {"init_params": labels, "max_iter": 3, "tol": 0.0}
    with pytest.warns(fastgmm.exceptions.ConvergenceWarning):
        model = GaussianMixture(2, covariance_type=covariance_type, noise=True, **params).fit(X, sample_weight=weight)
    joint = joint_of(model, X.astype(np.float64))
    peak = joint.max(axis=1)
    evidence = peak + np.log(np.exp(joint - peak[:, None]).sum(axis=1))
    shares = np.exp(joint - evidence[:, None])
    close = 1e-9 if dtype == np.float64 else 2e-4
    label = np.where(joint.argmax(axis=1) == 2, -1, joint.argmax(axis=1))
    assert (label == -1).any()
    np.testing.assert_array_equal(model.predict(X), label)
    np.testing.assert_allclose(model.predict_proba(X), shares[:, :2], atol=close)
    np.testing.assert_allclose(model.score_samples(X), evidence, atol=close, rtol=close)
    np.testing.assert_allclose(model.uncertainty(X), 1.0 - shares.max(axis=1), atol=close)
    statistics = model.statistics(X, weight)
    np.testing.assert_allclose(statistics.mass, weight @ shares[:, :2], rtol=close)
    assert statistics.log_evidence == pytest.approx(weight @ evidence, rel=close)
    assert model.score(X, sample_weight=weight) == pytest.approx(weight @ evidence / weight.sum(), rel=close)
    penalty = model._n_parameters() * np.log(weight.sum())
    assert model.icl(X, sample_weight=weight) == pytest.approx(-2 * weight @ peak + penalty, rel=close)
    if dtype == np.float64:
        np.testing.assert_allclose(model._estimate_log_prob_resp(X)[0], evidence, atol=close)


def test_skipped_components_change_nothing():
    rng = np.random.default_rng(0)
    means = 40.0 * rng.normal(size=(24, 4))
    X = means[rng.integers(24, size=400_000)] + rng.normal(size=(400_000, 4))
    X[:20_000] = rng.uniform(-150.0, 150.0, size=(20_000, 4))
    family = fastgmm.families.NAMED["full"]
    density, _ = family.density(np.full(24, 0.95 / 24), means, np.stack([np.eye(4)] * 24))
    noisy = density._replace(log_scale=np.append(density.log_scale, np.log(0.05) - 4 * np.log(300.0)))
    found, some = e_step(family, noisy, X), np.arange(0, 400_000, 997)
    part = Scores(noisy, ArrayRows(X), labels=True, evidence=True)
    # So few rows are looked at with all components.
    small = Scores(noisy, ArrayRows(X[some]), labels=True, evidence=True)
    np.testing.assert_array_equal(part.labels[some], small.labels)
    np.testing.assert_allclose(part.evidence[some], small.evidence, rtol=1e-12)
    pieces = [e_step(family, noisy, piece) for piece in np.array_split(X, 100)]
    np.testing.assert_allclose(found.mass, sum(piece.mass for piece in pieces), rtol=1e-9)
    np.testing.assert_allclose(found.scatter, sum(piece.scatter for piece in pieces), rtol=1e-9, atol=1e-6)
    assert found.log_evidence == pytest.approx(sum(piece.log_evidence for piece in pieces), rel=1e-12)
    assert 0.03 < 1 - found.mass.sum() / found.weight < 0.06


# -- what it is for ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.003, 0.05, 0.3])
def test_gross_errors_do_not_pull_components(share):
    rng = np.random.default_rng(1)
    clean = np.repeat([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0], [0.0, 9.0, 0.0]], 200, axis=0) + rng.normal(size=(600, 3))
    wrong = 1000.0 * rng.normal(size=(round(share * 600), 3))
    model = GaussianMixture(3, noise=True, random_state=0).fit(np.vstack([clean, wrong]))
    assert model.noise_weight_ == pytest.approx(share / (1 + share), abs=0.005)
    means = model.means_[np.lexsort(model.means_.round().T)]
    np.testing.assert_allclose(means, [[0, 0, 0], [9, 0, 0], [0, 9, 0]], atol=0.3)
    labels = model.predict(np.vstack([clean, wrong]))
    assert (labels[600:] == -1).all()
    assert (labels[:600] == -1).mean() < 0.02


def test_without_noise_in_the_rows_it_has_next_to_no_weight():
    rng = np.random.default_rng(2)
    X = np.repeat([[0.0, 0.0], [8.0, 8.0]], 300, axis=0) + rng.normal(size=(600, 2))
    params = {"random_state": 0, "tol": 1e-8, "max_iter": 500}
    model, plain = (GaussianMixture(2, noise=noise, **params).fit(X) for noise in (True, False))
    assert model.noise_weight_ < 1e-4
    assert model.score(X) > plain.score(X) - 1e-6
    assert plain.bic(X) < model.bic(X)


def test_far_from_neighbours():
    rng = np.random.default_rng(3)
    rows = np.vstack([rng.normal(size=(500, 2)), rng.uniform(-40.0, 40.0, size=(50, 2))])
    found = far_from_neighbours(rows)
    assert found[500:].mean() > 0.9
    assert found[:500].mean() < 0.05
    assert not far_from_neighbours(np.zeros((20, 2))).any()
    assert not far_from_neighbours(np.zeros((1, 2))).any()


@pytest.mark.parametrize(("scale", "offset"), [(1e-100, 0.0), (1e100, 0.0), (1.0, 1e8)])
def test_units_and_origin_do_not_matter(gridded, scale, offset):
    X, labels = gridded
    params = {"noise": True, "init_params": labels, "reg_covar": 0.0, "tol": 1e-7, "max_iter": 300}
    plain, moved = GaussianMixture(2, **params).fit(X), GaussianMixture(2, **params).fit(X * scale + offset)
    assert moved.noise_weight_ == pytest.approx(plain.noise_weight_, rel=1e-5)
    assert moved.noise_log_volume_ == pytest.approx(plain.noise_log_volume_ + 2 * np.log(scale), abs=1e-6)
    np.testing.assert_array_equal(moved.predict(X * scale + offset), plain.predict(X))


def test_weights_are_copies_of_rows(gridded):
    X, labels = gridded
    counts = np.arange(308) % 3 + 1
    params = {"noise": True, "reg_covar": 0.0, "tol": 1e-9, "max_iter": 1000}
    one = GaussianMixture(2, init_params=labels, **params).fit(X, sample_weight=counts)
    other = GaussianMixture(2, init_params=np.repeat(labels, counts), **params).fit(np.repeat(X, counts, axis=0))
    assert one.lower_bound_ == pytest.approx(other.lower_bound_, rel=1e-9)
    assert one.noise_weight_ == pytest.approx(other.noise_weight_, rel=1e-6)
    assert one.noise_log_volume_ == pytest.approx(other.noise_log_volume_, rel=1e-9)


# -- the rest of the estimator ----------------------------------------------------------------------------------------


def test_samples_have_noise_in_the_box(fitted):
    X, labels = fitted.sample(4000, random_state=0)
    assert X.shape == (4000, 2)
    assert (np.diff(np.where(labels < 0, 2, labels)) >= 0).all()
    noise = X[labels == -1]
    assert len(noise) / 4000 == pytest.approx(fitted.noise_weight_, abs=0.03)
    corner, edges = fitted.noise_box_[0], fitted.noise_box_[1:]
    inside = (noise - corner) @ np.linalg.inv(edges)
    assert inside.min() >= 0.0
    assert inside.max() <= 1.0
    np.testing.assert_allclose(inside.mean(axis=0), 0.5, atol=0.05)
    assert [len(part) for part in fitted.sample(1)] == [1, 1]


def test_it_is_kept_in_files_pickles_and_clones(gridded, fitted, tmp_path):
    X, _ = gridded
    for suffix in (".json", ".npz"):
        io.save_model(fitted, tmp_path / f"model{suffix}")
        again = io.load_model(tmp_path / f"model{suffix}")
        np.testing.assert_array_equal(again.predict(X), fitted.predict(X))
        assert again.bic(X) == fitted.bic(X)
        assert again.noise is True
        np.testing.assert_array_equal(again.noise_box_, fitted.noise_box_)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.score_samples(X), fitted.score_samples(X))


def test_it_goes_on_and_goes_away(gridded):
    X, labels = gridded
    model = GaussianMixture(2, noise=True, init_params=labels, warm_start=True, max_iter=5, tol=0.0)
    whole = GaussianMixture(2, noise=True, init_params=labels, max_iter=10, tol=0.0)
    for each in (model, model, whole):
        with pytest.warns(fastgmm.exceptions.ConvergenceWarning):
            each.fit(X)
    assert model.noise_weight_ == pytest.approx(whole.noise_weight_, rel=1e-9)
    updated = model.update(model.statistics(X))
    assert updated.weights_.sum() + updated.noise_weight_ == pytest.approx(1.0)
    model.set_params(noise=False, warm_start=False, init_params="auto", max_iter=100, tol=1e-3).fit(X)
    assert not hasattr(model, "noise_weight_")
    assert model.weights_.sum() == pytest.approx(1.0)
    assert (model.predict(X) >= 0).all()


def test_checkpoints_go_on_with_noise(gridded, tmp_path):
    X, _labels = gridded
    params = {"noise": True, "init_params": "kmeans", "random_state": 0, "tol": 0.0, "checkpoint_interval": 0}
    fits = []
    for max_iter, path in ((8, None), (3, tmp_path / "fit"), (8, tmp_path / "fit")):
        with pytest.warns(fastgmm.exceptions.ConvergenceWarning):
            fits.append(GaussianMixture(2, max_iter=max_iter, checkpoint=path, **params).fit(X))
    np.testing.assert_array_equal(fits[0].means_, fits[2].means_)
    assert fits[0].noise_weight_ == fits[2].noise_weight_ != fits[1].noise_weight_


def test_rows_of_files_and_threads_have_the_same_bits(gridded, tmp_path):
    X, _ = gridded
    np.save(tmp_path / "rows.npy", X)
    fits = [
        GaussianMixture(2, noise=True, random_state=0, n_threads=n).fit(data)
        for n, data in ((1, X), (2, X), (None, tmp_path / "rows.npy"))
    ]
    for other in fits[1:]:
        np.testing.assert_array_equal(fits[0].covariances_, other.covariances_)
        assert fits[0].noise_weight_ == other.noise_weight_
        assert fits[0].noise_log_volume_ == other.noise_log_volume_


def test_components_alone(fitted, gridded):
    alone = fitted.without_noise()
    assert alone.weights_.sum() == pytest.approx(1.0)
    assert not hasattr(alone, "noise_weight_")
    np.testing.assert_array_equal(alone.means_, fitted.means_)
    share = 1.0 - fitted.noise_weight_
    density = share * np.exp(alone.score_samples(gridded[0])) + np.exp(
        np.log(fitted.noise_weight_) - fitted.noise_log_volume_
    )
    np.testing.assert_allclose(np.exp(fitted.score_samples(gridded[0])), density, rtol=1e-10)


def test_it_is_told_of(fitted, gridded):
    weight = f"{fitted.noise_weight_:.4f}"
    assert f"weight of noise  {weight}" in " ".join(str(fitted.summary(gridded[0])).split("\n")).replace("   ", "  ")
    assert f"Noise has a weight of {weight}." in fitted._repr_html_()


def test_choice_of_a_size_beside_noise(gridded):
    estimator = GaussianMixture(noise=True, n_init=2)
    choice = fastgmm.GaussianMixtureIC(1, 5, covariance_type="full", estimator=estimator, random_state=0)
    best = choice.fit(gridded[0]).best_estimator_
    assert choice.n_components_ == 2
    assert best.noise_weight_ == pytest.approx(0.195, abs=0.02)
    direct = GaussianMixture(2, noise=True, random_state=0, n_init=2)
    assert choice.criterion_ == pytest.approx(direct.fit(gridded[0]).bic(gridded[0]), abs=1.0)


@pytest.mark.parametrize("n_known", [1, 20])
def test_rows_of_known_classes_are_no_noise(n_known):
    rng = np.random.default_rng(4)
    centres = np.array([[0.0, 0.0], [7.0, 0.0], [0.0, 7.0]])
    X = np.vstack([np.repeat(centres, 150, axis=0) + rng.normal(size=(450, 2)), rng.uniform(-30, 30, size=(60, 2))])
    labels = np.full(510, -1)
    for k, first in enumerate((300, 0, 150)):
        labels[first : first + n_known] = k
    if n_known > 1:
        # A known row where nobody else is.
        X[300] = [0.0, 25.0]
    params = {"noise": True, "reg_covar": 0.0, "tol": 1e-9, "max_iter": 2000, "random_state": 0}
    model = GaussianMixture(3, **params).fit(X, labels=labels)
    np.testing.assert_allclose(model.means_, centres[[2, 0, 1]], atol=0.4)
    assert model.noise_weight_ == pytest.approx(60 / 510, abs=0.02)
    joint = joint_of(model, X)
    known = labels >= 0
    evidence = np.where(known, joint[np.arange(510), labels], np.logaddexp.reduce(joint, axis=1))
    assert model.lower_bound_ == pytest.approx(evidence.mean(), abs=1e-7)
    shares = np.where(known[:, None], np.eye(4)[labels], np.exp(joint - evidence[:, None]))
    np.testing.assert_allclose(model.weights_, shares.mean(axis=0)[:3], atol=1e-4)
    assert np.diff(model.lower_bounds_).min() > -1e-12


def test_columns_that_depend_on_each_other_have_the_box_of_the_columns():
    """A turned box is as thin as rounding there, and its volume would make all rows noise."""
    for X in (np.c_[FAITHFUL, FAITHFUL.sum(axis=1)], np.c_[FAITHFUL[:, 0], 2 * FAITHFUL[:, 0]], FAITHFUL[:2] + 1e6):
        model = GaussianMixture(1 if len(X) == 2 else 2, noise=True, random_state=0).fit(X)
        assert model.noise_log_volume_ == pytest.approx(np.log(np.ptp(X, axis=0)).sum(), rel=1e-9)
        assert model.noise_weight_ < 0.9


@pytest.mark.parametrize("no", [False, np.False_])
@pytest.mark.parametrize("yes", [True, np.True_])
def test_truth_values_of_numpy(gridded, no, yes):
    X, labels = gridded
    plain = GaussianMixture(2, noise=no, random_state=0).fit(X)
    assert not hasattr(plain, "noise_weight_")
    noisy = GaussianMixture(2, noise=yes, init_params=labels, **EXACT).fit(X)
    assert noisy.bic(X) == pytest.approx(-2 * PUBLISHED["full"][0] + 13 * np.log(308), abs=1e-6)


def test_parameters_count_as_they_were_fitted(gridded, tmp_path):
    X, labels = gridded
    for noise in (True, 185.5):
        model = GaussianMixture(2, noise=noise, init_params=labels, **EXACT).fit(X)
        bic = model.bic(X)
        for other in (5.0, True, False):
            model.set_params(noise=other)
            assert model.bic(X) == bic
        with pytest.raises(ValueError, match="update goes on with what was learned, with noise, but noise is False"):
            model.update(model.statistics(X))
        io.save_model(model, tmp_path / "model.json")
        again = io.load_model(tmp_path / "model.json")
        assert again.bic(X) == pytest.approx(bic)
        assert again.noise == pytest.approx(noise)


def test_a_fit_that_goes_on_without_noise_gains_it(gridded):
    X, _ = gridded
    model = GaussianMixture(2, warm_start=True, random_state=0, tol=1e-9, max_iter=2000).fit(X)
    model.set_params(noise=True).fit(X)
    assert model.score(X) * 308 == pytest.approx(PUBLISHED["full"][0], abs=1e-3)


def test_no_row_is_left_for_components(gridded):
    X, _ = gridded
    with pytest.raises(ValueError, match="all rows are noise, and none is left for the components"):
        GaussianMixture(2, noise=True, init_params=np.full(308, -1)).fit(X)


# -- refused by name --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda model, X: model.marginal(0),
        lambda model, X: model.condition(0, X[:3, 0]),
        lambda model, X: model.moments(),
        lambda model, X: model.adapt(X),
        lambda model, X: model.density_threshold(0.9),
        lambda model, X: model.to_sklearn(),
        lambda model, X: analysis.modes(model),
        lambda model, X: analysis.reduce_components(model, 1),
        lambda model, X: analysis.kl_divergence(model, model),
        lambda model, X: reading.overlap(model),
        lambda model, X: inference.standard_errors(model, X),
    ],
)
def test_uses_of_mixtures_without_noise(fitted, gridded, call):
    with pytest.raises(ValueError, match=r"is noise: use model.without_noise\(\)"):
        call(fitted, gridded[0])


@pytest.mark.parametrize(
    "params",
    [
        {"accelerate": "squarem"},
        {"truncate": 1},
        {"equal_weights": True},
        {"frozen": {"means": [0]}, "means_init": [[2.0, 54.0], [4.0, 80.0]]},
    ],
)
def test_parameters_that_mixtures_with_noise_cannot_have(gridded, params):
    with pytest.raises(ValueError, match=f"{next(iter(params))} must be left out with noise=True"):
        GaussianMixture(2, noise=True, **params).fit(gridded[0])


@pytest.mark.parametrize("noise", [-1.0, 0.0, np.inf, np.nan, "yes", None])
def test_what_is_no_noise(gridded, noise):
    with pytest.raises(ValueError, match="noise must be True, False, or a volume > 0, got"):
        GaussianMixture(2, noise=noise).fit(gridded[0])


def test_what_cannot_be_fitted(gridded):
    X, labels = gridded
    flat = np.column_stack([X, np.ones(len(X))])
    with pytest.raises(ValueError, match=r"column 2 has the same value in all"):
        GaussianMixture(2, noise=True).fit(flat)
    with pytest.raises(ValueError, match="must give some rows the label -1 with noise"):
        GaussianMixture(2, noise=True, init_params=np.maximum(labels, 0)).fit(X)
    with pytest.raises(ValueError, match="must sum to less than 1 in some rows with noise"):
        GaussianMixture(2, noise=True, init_params=np.full((308, 2), 0.5)).fit(X)
    with pytest.raises(ValueError, match="init_params as labels must be integers in 0"):
        GaussianMixture(2, init_params=labels).fit(X)
    with pytest.raises(ValueError, match="fit_many cannot fit with noise=True"):
        fastgmm.fit_many(GaussianMixture(2, noise=True), [X, X])
    with pytest.raises(ValueError, match="likelihood_bootstrap is not for mixtures with noise"):
        inference.likelihood_bootstrap(GaussianMixture(2, noise=True, random_state=0).fit(X), X)
    with pytest.raises(ValueError, match="partial_fit is for mixtures without noise, got noise=True"):
        GaussianMixture(2, noise=True).partial_fit(X)
    detector = fastgmm.GaussianMixtureOutlierDetector(GaussianMixture(2, noise=True, random_state=0))
    with pytest.raises(ValueError, match="GaussianMixtureOutlierDetector is for mixtures without noise"):
        detector.fit(X)


def test_command_line(gridded, tmp_path, capsys):
    np.savetxt(tmp_path / "rows.csv", gridded[0], delimiter=",")
    model, labels = str(tmp_path / "model.json"), str(tmp_path / "labels.csv")
    rows = str(tmp_path / "rows.csv")
    assert cli.main(["fit", "-k", "2", "--noise", "--seed", "0", rows, "-o", model, "--labels", labels]) == 0
    assert "weight of noise" in capsys.readouterr().out
    assert "-1" in (tmp_path / "labels.csv").read_text().split()
    assert cli.main(["info", model]) == 0
    assert "weight of noise" in capsys.readouterr().out


@pytest.mark.parametrize("estimator", [GaussianMixture, fastgmm.BayesianGaussianMixture])
def test_noise_that_leaves_next_to_nothing_is_told_of(estimator, rng):
    """In small units ``reg_covar`` makes groups as wide as everything, and all rows are noise."""
    X = np.r_[datasets.load_faithful().data, rng.uniform([0, 20], [8, 130], size=(40, 2))]
    model = estimator(2, noise=True, random_state=0).fit(X)
    assert 0.02 < model.noise_weight_ < 0.3
    with pytest.warns(UserWarning, match=r"\d+% of the rows are taken for noise.* reg_covar=1e-06, lower it or"):
        model.fit(X * 1e-6)
    assert model.noise_weight_ > 0.9
    assert 0.02 < model.set_params(reg_covar=0).fit(X * 1e-6).noise_weight_ < 0.3
