"""Classifier, regressor and outlier detector, beside integration, scikit-learn's special cases, and mclust."""

import numpy as np
import pytest
from scipy.integrate import quad

import fastgmm
from fastgmm import (
    BayesianGaussianMixture,
    GaussianMixture,
    GaussianMixtureClassifier,
    GaussianMixtureIC,
    GaussianMixtureOutlierDetector,
    GaussianMixtureRegressor,
    datasets,
)

ONE = GaussianMixture(1, reg_covar=0.0)


@pytest.fixture(scope="module")
def iris():
    data = datasets.load_iris()
    return np.asarray(data.data, np.float64), np.asarray(data.target)


@pytest.fixture(scope="module")
def curve():
    """Rows and targets on a bent curve, whose noise grows."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-3.0, 3.0, size=(400, 1))
    return x, np.abs(x[:, 0]) + (0.1 + 0.1 * np.abs(x[:, 0])) * rng.normal(size=400)


def test_regression_is_what_integration_of_the_joint_density_gives(curve):
    X, y = curve
    regressor = GaussianMixtureRegressor(GaussianMixture(3, random_state=0)).fit(X, 100.0 * y + 7.0)
    (dx, dy), (sx, sy) = regressor.offset_, regressor.scale_

    def joint(value, x):
        return float(np.exp(regressor.mixture_.score_samples([[(x - dx) / sx, (value - dy) / sy]])[0]))

    mean, deviation = regressor.predict([[-1.5], [0.25]], return_std=True)
    median = regressor.predict_quantiles([[-1.5], [0.25]], 0.5)
    for place, x in enumerate((-1.5, 0.25)):
        low, high = -300.0, 900.0
        options = {"args": (x,), "points": [mean[place]], "limit": 200, "epsabs": 1e-12}
        total = quad(joint, low, high, **options)[0]
        expected = quad(lambda v, x: v * joint(v, x), low, high, **options)[0] / total
        square = quad(lambda v, x: v**2 * joint(v, x), low, high, **options)[0] / total - expected**2
        below = quad(joint, low, median[place], args=(x,), limit=200, epsabs=1e-12)[0] / total
        assert mean[place] == pytest.approx(expected, rel=1e-7)
        assert deviation[place] == pytest.approx(np.sqrt(square), rel=1e-6)
        assert below == pytest.approx(0.5, abs=1e-7)


def test_one_component_is_linear_regression(iris):
    linear = pytest.importorskip("sklearn.linear_model")
    X, weight = iris[0], np.random.default_rng(0).integers(0, 4, 150).astype(float)
    for y in (X[:, 3], X[:, 2:]):
        ours = GaussianMixtureRegressor(ONE).fit(X[:, :2], y, weight)
        theirs = linear.LinearRegression().fit(X[:, :2], y, weight)
        np.testing.assert_allclose(ours.predict(X[:, :2]), theirs.predict(X[:, :2]), rtol=1e-9)
        assert ours.score(X[:, :2], y, weight) == pytest.approx(theirs.score(X[:, :2], y, weight), abs=1e-10)


@pytest.mark.parametrize(("offset", "scale"), [(0.0, 1e-150), (1e8, 1.0), (0.0, 1e140), (-1e3, 1e-6)])
def test_units_of_rows_and_targets_do_not_matter(curve, offset, scale):
    X, y = curve
    mixture = GaussianMixture(3, random_state=0)
    plain = GaussianMixtureRegressor(mixture).fit(X, y).predict(X[:20], return_std=True)
    moved = GaussianMixtureRegressor(mixture).fit(scale * X + offset, scale * y + offset)
    mean, deviation = moved.predict(scale * X[:20] + offset, return_std=True)
    # Where an offset is added, rows themselves are rounded.
    tolerance = 1e-6 if offset else 1e-9
    np.testing.assert_allclose((mean - offset) / scale, plain[0], rtol=tolerance)
    np.testing.assert_allclose(deviation / scale, plain[1], rtol=tolerance)


def test_a_constant_column_says_nothing(curve):
    X, y = curve
    mixture = GaussianMixture(2, random_state=0, tol=1e-11, max_iter=2000)
    plain = GaussianMixtureRegressor(mixture).fit(X, y).predict(X[:20])
    wide = GaussianMixtureRegressor(mixture).fit(np.column_stack([X, np.full(400, 0.1)]), y)
    np.testing.assert_allclose(wide.predict(np.column_stack([X[:20], np.full(20, 0.1)])), plain, rtol=1e-6)


def test_blocks_of_rows_and_draws(curve, monkeypatch):
    X, y = curve
    regressor = GaussianMixtureRegressor(GaussianMixture(3, random_state=0)).fit(X, np.column_stack([y, -y]))
    whole = regressor.predict(X, return_std=True)
    assert whole[0].shape == whole[1].shape == (400, 2)
    monkeypatch.setattr(fastgmm.predictors.regressor, "_BLOCK", 50)
    for ours, theirs in zip(regressor.predict(X, return_std=True), whole, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    draws = regressor.sample_y(X[:2], 20_000, random_state=1)
    assert draws.shape == (2, 2, 20_000)
    np.testing.assert_allclose(draws.mean(axis=2), whole[0][:2], atol=6 * whole[1][:2].max() / np.sqrt(20_000))
    with pytest.raises(ValueError, match="quantile is of one column"):
        regressor.predict_quantiles(X)
    vector = GaussianMixtureRegressor(GaussianMixture(2)).fit(X, y)
    assert vector.sample_y(X[:3], 4).shape == (3, 4)
    assert vector.predict_quantiles(X[:3]).shape == (3, 3)
    log_density = vector.predict_conditional(X).log_density(y)
    sx, sy = vector.scale_
    joint = vector.mixture_.score_samples((np.column_stack([X, y]) - vector.offset_) / vector.scale_)
    alone = vector.mixture_.marginal(0).score_samples((X - vector.offset_[:1]) / sx)
    np.testing.assert_allclose(log_density, joint - alone - np.log(sy), atol=1e-10)


def test_classes_that_share_a_covariance_are_linear_discriminant_analysis(iris):
    discriminant = pytest.importorskip("sklearn.discriminant_analysis")
    bayes = pytest.importorskip("sklearn.naive_bayes")
    X, y = iris
    tied = GaussianMixtureClassifier("EDDA", estimator=GaussianMixture(covariance_type="tied", reg_covar=0.0))
    diag = GaussianMixtureClassifier("EDDA", estimator=GaussianMixture(covariance_type="diag", reg_covar=0.0))
    linear = discriminant.LinearDiscriminantAnalysis(solver="lsqr")
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    for ours, theirs in ((tied, linear), (diag, bayes.GaussianNB(var_smoothing=0.0))):
        ours.fit(X, names)
        theirs.fit(X, names)
        np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-9)
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
        assert ours.score(X, names) == theirs.score(X, names)
    full = GaussianMixtureClassifier("EDDA", estimator=GaussianMixture(reg_covar=0.0)).fit(X, y)
    for c, mixture in enumerate(full.mixtures_):
        np.testing.assert_allclose(mixture.means_[0], X[y == c].mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(mixture.covariances_[0], np.cov(X[y == c].T, bias=True), rtol=1e-9)


def test_families_of_classes_are_chosen_as_by_mclust(iris):
    X, y = iris
    chosen = GaussianMixtureClassifier("EDDA").fit(X, y)
    # MclustDA(iris, classes, modelType = "EDDA") of R's mclust 6.0.0: VEV, 3 of 150 wrong, log-likelihood -187.7097.
    assert chosen.covariance_type_ == "VEV"
    assert chosen.score(X, y) == pytest.approx(147 / 150)
    exact = GaussianMixtureClassifier("EDDA", estimator=GaussianMixture(covariance_type="VEV", reg_covar=0.0)).fit(X, y)
    own = exact._joint(X)[np.arange(150), y]
    assert exact.score_samples(X).sum() == pytest.approx(-187.709744405, abs=1e-8)
    assert own.sum() == pytest.approx(-194.047512443, abs=1e-8)


def test_a_mixture_for_each_class(iris):
    X, y = iris
    mixture = GaussianMixture(2, random_state=0, covariance_type="diag", reg_covar=0.0)
    classifier = GaussianMixtureClassifier(estimator=mixture, priors=[0.5, 0.25, 0.25]).fit(X, y)
    joint = np.column_stack([mixture.fit(X[y == c]).score_samples(X) + np.log([0.5, 0.25, 0.25][c]) for c in range(3)])
    np.testing.assert_allclose(classifier._joint(X), joint, rtol=1e-9)
    np.testing.assert_array_equal(classifier.predict(X), joint.argmax(axis=1))
    np.testing.assert_allclose(classifier.predict_proba(X).sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(np.exp(classifier.score_samples(X)), np.exp(joint).sum(axis=1), rtol=1e-9)
    far = classifier.predict_log_proba(np.full((1, 4), 1e6))
    assert np.isfinite(far).any()
    assert not np.isnan(far).any()
    shares = GaussianMixtureClassifier(estimator=mixture).fit(X[:130], y[:130], np.where(y[:130] == 0, 2.0, 1.0))
    np.testing.assert_allclose(shares.class_prior_, np.array([100.0, 50.0, 30.0]) / 180.0)


def test_few_rows_of_a_class_lower_the_number_of_components():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(60, 1)), rng.normal(size=(3, 1)) + 9.0])
    estimator = GaussianMixtureIC(max_components=4, covariance_type="tied-spherical", random_state=0)
    classifier = GaussianMixtureClassifier(estimator=estimator).fit(X, np.repeat([True, False], [60, 3]))
    np.testing.assert_array_equal(classifier.predict([[0.0], [9.0]]), [True, False])
    assert estimator.max_components == 4


def test_outliers_by_their_share_and_by_the_mass_of_the_mixture(iris):
    X = iris[0]
    mixture = GaussianMixture(2, random_state=0)
    detector = GaussianMixtureOutlierDetector(mixture, contamination=0.1)
    labels = detector.fit_predict(X)
    assert (labels == -1).sum() == 15
    lowest = np.argsort(mixture.fit(X).score_samples(X))[:15]
    np.testing.assert_array_equal(np.flatnonzero(labels == -1), np.sort(lowest))
    np.testing.assert_array_equal(np.where(detector.decision_function(X) < 0.0, -1, 1), labels)
    automatic = GaussianMixtureOutlierDetector(mixture, contamination="auto").fit(X)
    drawn, _ = automatic.mixture_.sample(50_000, random_state=1)
    assert (automatic.predict(drawn) == -1).mean() == pytest.approx(0.01, abs=2e-3)
    np.testing.assert_array_equal(automatic.predict([[5.0, 3.4, 1.5, 0.2], [50.0, 3.4, 1.5, 0.2]]), [1, -1])


def test_weighted_rows_count_as_copies_for_a_threshold(iris):
    X, weight = iris[0], np.random.default_rng(0).integers(1, 4, 150)
    mixture = GaussianMixture(1)
    ours = GaussianMixtureOutlierDetector(mixture, contamination=0.2).fit(X, sample_weight=weight)
    copies = np.repeat(X, weight, axis=0)
    theirs = GaussianMixtureOutlierDetector(mixture, contamination=0.2).fit(copies)
    share = (ours.predict(copies) == -1).mean()
    assert share == pytest.approx((theirs.predict(copies) == -1).mean(), abs=3 / len(copies))
    variational = BayesianGaussianMixture(2, random_state=0)
    bayes = GaussianMixtureOutlierDetector(variational, contamination=0.1).fit(X)
    assert (bayes.predict(X) == -1).sum() == 15


@pytest.mark.parametrize("kind", [GaussianMixtureClassifier, GaussianMixtureRegressor, GaussianMixtureOutlierDetector])
def test_names_of_columns_and_parameters(kind, iris):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(iris[0], columns=list("abcd"))
    model = kind(estimator=GaussianMixture(1))
    model.fit(frame, iris[1])
    assert model.feature_names_in_.tolist() == list("abcd")
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[list("bacd")])
    weighted = kind(estimator=GaussianMixture(1)).fit(frame.assign(w=1.0), iris[1], sample_weight="w")
    np.testing.assert_allclose(weighted.predict(frame), model.predict(frame))
    assert model.get_params()["estimator__reg_covar"] == 1e-6
    model.set_params(estimator__reg_covar=0.1)
    assert model.estimator.reg_covar == 0.1
    assert kind().set_params(estimator__random_state=3).estimator.random_state == 3


@pytest.mark.parametrize("kind", [GaussianMixtureClassifier, GaussianMixtureRegressor, GaussianMixtureOutlierDetector])
def test_a_fit_that_fails_leaves_the_predictor_as_it_was(kind, iris):
    model = kind(estimator=GaussianMixture(1)).fit(*iris)
    before = model.predict(iris[0])
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.full((150, 2), np.nan), iris[1])
    np.testing.assert_array_equal(model.predict(iris[0]), before)
    with pytest.raises(ValueError, match="not fitted"):
        kind().predict(iris[0])
    with pytest.raises(TypeError, match="estimator must be a GaussianMixture"):
        kind(estimator=3).fit(*iris)
    with pytest.raises(ValueError, match="features"):
        model.predict(iris[0][:, :2])


@pytest.mark.parametrize("kind", [GaussianMixtureClassifier, GaussianMixtureRegressor, GaussianMixtureOutlierDetector])
def test_rows_with_gaps_are_refused_with_a_remedy(kind, iris):
    X, y = iris
    gaps = X.copy()
    gaps[3, 1] = np.nan
    option = GaussianMixture(1, missing="marginal")
    for estimator in (option, BayesianGaussianMixture(1, missing="marginal"), GaussianMixtureIC(estimator=option)):
        told = rf"missing must be None in the estimator of a {kind.__name__}, got 'marginal'.* Impute"
        with pytest.raises(ValueError, match=told):
            kind(estimator=estimator).fit(gaps, y)
    model = kind(estimator=GaussianMixture(1)).fit(X, y)
    for call in (model.predict, lambda rows: model.fit(rows, y)):
        with pytest.raises(ValueError, match=r"contains NaN \(row 3, column 1\).*: drop or impute the others\.$"):
            call(gaps)


@pytest.mark.parametrize("kind", [GaussianMixtureRegressor, GaussianMixtureOutlierDetector])
def test_mixtures_with_noise_are_refused_before_a_fit(kind, iris):
    noisy = GaussianMixture(2, noise=True)
    for estimator in (noisy, GaussianMixtureIC(estimator=noisy), GaussianMixture(2, noise=3.0)):
        told = (
            rf"{kind.__name__} is for mixtures without noise, got noise=(True|3\.0) in its estimator: set noise=False"
        )
        with pytest.raises(ValueError, match=told):
            kind(estimator=estimator).fit(*iris)


def test_components_for_classes_leave_no_share_to_noise(iris):
    with pytest.raises(ValueError, match="is for mixtures without noise"):
        GaussianMixtureClassifier("EDDA", estimator=GaussianMixture(noise=True)).fit(*iris)
    mixtures = GaussianMixtureClassifier(estimator=GaussianMixture(1, noise=1e6, tol=1e-6)).fit(*iris).mixtures_
    assert all(0.0 <= mixture.noise_weight_ < 0.1 for mixture in mixtures)


def test_faults_are_named(iris):
    X, y = iris
    with pytest.raises(ValueError, match=r"mixture of class 2 \(2 rows\) could not be fitted"):
        GaussianMixtureClassifier(estimator=GaussianMixture(3)).fit(X[:102], y[:102])
    with pytest.raises(ValueError, match="two classes at least"):
        GaussianMixtureClassifier().fit(X[:50], y[:50])
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        GaussianMixtureClassifier().fit(X, X[:, 0])
    with pytest.raises(ValueError, match="priors must be 3 numbers"):
        GaussianMixtureClassifier(priors=[0.5, 0.5], estimator=ONE).fit(X, y)
    with pytest.raises(ValueError, match="class 0 has no row with a weight above 0"):
        GaussianMixtureClassifier(estimator=ONE).fit(X, y, np.where(y == 0, 0.0, 1.0))
    with pytest.raises(ValueError, match="model_type must be"):
        GaussianMixtureClassifier("LDA").fit(X, y)
    with pytest.raises(TypeError, match="must be a GaussianMixture, or a GaussianMixtureIC of such, where"):
        GaussianMixtureClassifier("EDDA", estimator=BayesianGaussianMixture()).fit(X, y)
    with pytest.raises(ValueError, match="has none in row 1"):
        GaussianMixtureClassifier().fit(X[:3], np.array(["a", None, "b"], dtype=object))
    with pytest.raises(ValueError, match="classes of one kind"):
        GaussianMixtureClassifier().fit(X[:3], np.array(["a", 1, "b"], dtype=object))
    with pytest.raises(ValueError, match=r"contamination must be 'auto' or a number in \(0, 0.5\], got 0.7"):
        GaussianMixtureOutlierDetector(contamination=0.7).fit(X)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        GaussianMixtureRegressor().fit(X, y[:3])
    with pytest.raises(ValueError, match="y contains NaN"):
        GaussianMixtureRegressor().fit(X, np.full(150, np.nan))


def test_spurious_components_are_told_of_in_the_units_of_the_rows(iris):
    X, y = iris
    X = X.copy()
    X[:30, 3] = 0.2
    with pytest.warns(fastgmm.exceptions.SpuriousComponentWarning, match=r"class 0: .* x4 = 0\.2 \("):
        GaussianMixtureClassifier(estimator=GaussianMixture(2, random_state=0)).fit(X, y)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [GaussianMixtureClassifier, GaussianMixtureRegressor, GaussianMixtureOutlierDetector])
def test_check_estimator(kind):
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    results = checks.check_estimator(kind(estimator=GaussianMixture(1)), on_fail=None)
    failed = [(each["check_name"], each["exception"]) for each in results if each["status"] == "failed"]
    assert not failed


# -- rows and units that are out of the ordinary ----------------------------------------------------------------------


@pytest.mark.parametrize("model_type", ["MclustDA", "EDDA"])
@pytest.mark.parametrize("scale", [1e-3, 1e-150, 1e150])
def test_classes_do_not_depend_on_the_unit(iris, model_type, scale):
    X, y = iris
    estimator = GaussianMixture(1) if model_type == "EDDA" else GaussianMixture(2, random_state=0)
    plain = GaussianMixtureClassifier(model_type, estimator=estimator).fit(X, y).predict(X)
    scaled = GaussianMixtureClassifier(model_type, estimator=estimator).fit(scale * X, y)
    np.testing.assert_array_equal(scaled.predict(scale * X), plain)
    detector = GaussianMixtureOutlierDetector(estimator, contamination=0.1)
    np.testing.assert_array_equal(detector.fit(scale * X).predict(scale * X), detector.fit(X).predict(X))


@pytest.mark.parametrize("n_outliers", [1, 2, 3, 5])
def test_outliers_are_no_components(n_outliers):
    """Each of a few rows that are far from all others gets a component, whose density is high there."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(500, 2)), rng.uniform(20, 200, size=(n_outliers, 2))])
    detector = GaussianMixtureOutlierDetector(contamination="auto").fit(X)
    assert (detector.predict(X[-n_outliers:]) == -1).all()
    assert (detector.predict(X[:500]) == -1).mean() < 0.04


def test_rows_that_are_too_far_for_any_class_are_refused(iris):
    classifier = GaussianMixtureClassifier("EDDA", estimator=GaussianMixture()).fit(*iris)
    with pytest.raises(ValueError, match="row 1 of X is so far from all classes"):
        classifier.predict(np.array([[5.0, 3.0, 1.0, 0.2], [1e200] * 4]))


def test_the_choice_of_families_is_a_parameter(iris):
    chosen = GaussianMixtureClassifier("EDDA").set_params(estimator__covariance_type=["full", "tied", "VEV"]).fit(*iris)
    assert chosen.covariance_type_ == "VEV"
    assert GaussianMixtureClassifier("EDDA", estimator=GaussianMixture()).fit(*iris).covariance_type_ == "full"


@pytest.mark.slow
def test_classes_of_few_rows_in_many_columns_are_not_components_each():
    """Half of wine: 30, 36 and 24 rows in 13 columns; R's MclustDA is right for 94 % of the other half."""
    sklearn = pytest.importorskip("sklearn.datasets")
    X, y = sklearn.load_wine(return_X_y=True)
    parts = np.arange(len(y)) % 2 == 0
    classifier = GaussianMixtureClassifier().fit(X[parts], y[parts])
    assert classifier.score(X[~parts], y[~parts]) > 0.85
    noise = np.random.default_rng(0).normal(size=(40, 6))
    assert GaussianMixtureIC(random_state=0).fit(noise).n_components_ == 1


def test_one_wild_target_does_not_spoil_the_others():
    rng = np.random.default_rng(0)
    X = rng.uniform(-3.0, 3.0, size=(500, 1))
    y = np.sin(2 * X[:, 0]) + 0.1 * rng.normal(size=500)
    wild = y.copy()
    wild[7] = 1e6
    regressor = GaussianMixtureRegressor(GaussianMixture(8, random_state=0, n_init=2)).fit(X, wild)
    mean, deviation = regressor.predict(X[:5], return_std=True)
    assert np.abs(mean - np.sin(2 * X[:5, 0])).max() < 0.3
    assert deviation.max() < 0.5
    # A row that does not count has no say in the units either.
    weight = np.ones(500)
    weight[7] = 0.0
    some = np.arange(500) != 7
    ours = GaussianMixtureRegressor(GaussianMixture(3, random_state=0)).fit(
        np.where(some[:, None], X, 1e200), y, weight
    )
    theirs = GaussianMixtureRegressor(GaussianMixture(3, random_state=0)).fit(X[some], y[some])
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-6)
