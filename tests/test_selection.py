"""Choosing sizes and families: GaussianMixtureIC beside loops by hand, mclust's choices, and what may not win."""

import pickle
import warnings
from itertools import combinations, pairwise

import numpy as np
import pytest
from conftest import read_columns

from fastgmm import BayesianGaussianMixture, GaussianMixture, GaussianMixtureIC
from fastgmm.exceptions import SpuriousComponentWarning
from fastgmm.families import FAMILIES
from fastgmm.fitting import restarts
from fastgmm.selection import Merged, bootstrap_test, candidates, merge_components
from fastgmm.selection.candidates import best_place
from fastgmm.sources import BatchRows

DID_NOT_CONVERGE = pytest.mark.filterwarnings("ignore:.*did not converge")


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(size=(120, 2)) * [1, 3], rng.normal(size=(80, 2)) + [9, 0]])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_candidates_are_the_fits_alone(monkeypatch, rows, weighted, n_threads):
    """Sharing what starts have in common, and threads, change no bit."""
    monkeypatch.setattr(candidates, "LEAST_WORK", 0)
    weight = np.random.default_rng(1).integers(1, 4, len(rows)).astype(float) if weighted else None
    families = ["full", "diag", "EEE"]
    selection = GaussianMixtureIC(
        1,
        3,
        covariance_type=families,
        estimator=GaussianMixture(n_init=3, tol=1e-5),
        random_state=4,
        n_threads=n_threads,
    ).fit(rows, sample_weight=weight)
    found = iter(selection.candidates_)
    values = []
    for n_components in (1, 2, 3):
        for family in families:
            model = GaussianMixture(n_components, covariance_type=family, n_init=3, tol=1e-5, random_state=4)
            model.fit(rows, sample_weight=weight)
            candidate = next(found)
            for name in ("weights_", "means_", "covariances_"):
                np.testing.assert_array_equal(getattr(candidate.model, name), getattr(model, name))
            values.append(model.bic(rows, sample_weight=weight))
            assert candidate.value("bic") == values[-1]
            assert candidate.value("aic") == model.aic(rows, sample_weight=weight)
            assert candidate.value("icl") == model.icl(rows, sample_weight=weight)
    assert next(found, None) is None
    best = int(np.argmin(values))
    assert (selection.n_components_, selection.best_index_) == (best // 3 + 1, best)
    assert selection.covariance_type_ == ["full", "diag", "tied"][best % 3]
    assert selection.criterion_ == min(values)
    np.testing.assert_array_equal(selection.predict(rows), selection.best_estimator_.predict(rows))
    np.testing.assert_array_equal(selection.means_, selection.best_estimator_.means_)


@pytest.mark.parametrize(
    ("name", "expected", "mclust"),
    [
        # mclustBIC(x, G = 1:9, modelNames = c("EII", "VII", "EEI", "VVI", "EEE", "VVV")), mclust 6.0.1, sign changed.
        ("iris", (2, "full"), 574.0178323),
        ("faithful", (3, "tied"), 2314.316296),
        ("diabetes", (3, "full"), 4751.316400),
    ],
)
def test_choices_of_mclust(name, expected, mclust):
    families = ["EII", "VII", "EEI", "VVI", "EEE", "VVV"]
    estimator = GaussianMixture(n_init=2, tol=1e-5, max_iter=1000)
    selection = GaussianMixtureIC(covariance_type=families, estimator=estimator, random_state=0).fit(read_columns(name))
    assert (selection.n_components_, selection.covariance_type_) == expected
    assert selection.criterion_ < mclust + 0.01
    assert set(selection.results_["covariance_type"]) == set(FAMILIES) & {
        *("full", "tied", "diag", "spherical", "tied-diag", "tied-spherical")
    }


def test_what_is_shared_is_made_once(rows, monkeypatch):
    """k-means of one size serves all families."""
    from fastgmm.starts import seeding

    made = []
    pick = seeding.pick_centres
    monkeypatch.setattr(seeding, "pick_centres", lambda *arguments: made.append(arguments[2]) or pick(*arguments))
    GaussianMixtureIC(1, 3, covariance_type=["full", "tied", "diag"], estimator=GaussianMixture(), random_state=0).fit(
        rows
    )
    assert sorted(made) == [1, 2, 3]


@pytest.mark.parametrize("criterion", ["bic", "aic", "icl", "held-out"])
def test_criteria(rows, criterion):
    selection = GaussianMixtureIC(1, 4, covariance_type="full", criterion=criterion, random_state=0).fit(rows)
    table = selection.results_
    if criterion == "held-out":
        assert selection.criterion_ == table[criterion].max()
        # The best by rows held out is no better than by the rows of the fit.
        assert selection.criterion_ < selection.score(rows)
    else:
        assert selection.criterion_ == table[criterion].min()
    assert selection.criterion_name_ == criterion
    assert selection.n_components_ == 2
    np.testing.assert_allclose(table["delta"], np.abs(table[criterion] - selection.criterion_))


def test_rows_held_out_are_scored_by_fits_without_them(rows):
    selection = GaussianMixtureIC(2, 2, covariance_type="diag", criterion="held-out", n_folds=4, random_state=3)
    value = selection.fit(rows).criterion_
    places = np.random.default_rng(3).permutation(len(rows))
    total = 0.0
    for part in np.array_split(places, 4):
        rest = np.setdiff1d(np.arange(len(rows)), part)
        model = GaussianMixture(2, covariance_type="diag", n_init=2, random_state=3).fit(rows[rest])
        total += model.score_samples(rows[part]).sum()
    assert value == pytest.approx(total / len(rows), rel=1e-12)


@DID_NOT_CONVERGE
def test_variational_fits_are_compared_under_one_prior(rows):
    selection = GaussianMixtureIC(1, 4, estimator=BayesianGaussianMixture(), random_state=0).fit(rows)
    assert selection.criterion_name_ == "evidence"
    assert {each.model.weight_concentration_prior_ for each in selection.candidates_} == {0.25}
    assert selection.criterion_ == max(each.value("evidence") for each in selection.candidates_)
    chosen = selection.best_estimator_
    assert selection.criterion_ == pytest.approx(chosen.evidence_lower_bound(rows), rel=1e-12)
    conjugate = {name for name, family in FAMILIES.items() if family.is_conjugate}
    assert set(selection.results_["covariance_type"]) == conjugate


def test_spurious_fits_do_not_win():
    """Rounded values: a component on one of them has no limit to its likelihood."""
    X = read_columns("iris")[:, 3:]
    with pytest.warns(SpuriousComponentWarning, match="passed over although its bic is better, for component"):
        selection = GaussianMixtureIC(1, 12, covariance_type="full", random_state=0).fit(X)
    assert not selection.spurious_
    assert selection.n_components_ < 6
    doubtful = selection.results_["spurious"] > 0
    assert selection.results_["bic"][doubtful].min() < selection.criterion_


def test_fits_that_fail_are_left_out_and_named():
    rng = np.random.default_rng(0)
    X = np.repeat(rng.normal(size=(4, 2)), 3, axis=0)
    selection = GaussianMixtureIC(
        1, 4, covariance_type=["full", "tied-spherical"], estimator=GaussianMixture(reg_covar=0), random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        selection.fit(X)
    errors = selection.results_["error"]
    assert (errors != "").any()
    assert (errors == "").any()
    assert np.isnan(selection.results_["bic"][errors != ""]).all()
    fitted = dict(vars(selection))
    # All of them: nothing changes.
    with pytest.raises(ValueError, match=r"no candidate could be fitted. The first, 2 components, full: "):
        selection.set_params(min_components=2, covariance_type="full").fit(np.zeros((5, 2)))
    assert vars(selection)["best_estimator_"] is fitted["best_estimator_"]
    # More components than rows.
    few = GaussianMixtureIC(1, 9, covariance_type="tied-spherical", random_state=0).fit(rng.normal(size=(6, 1)))
    assert few.results_["error"][-1] == "There are fewer rows than 9 components."


def test_best_place():
    nan = np.nan
    assert best_place([3.0, 1.0, 2.0], [True, True, True], True) == 1
    assert best_place([3.0, 1.0, 2.0], [True, False, True], True) == 2
    assert best_place([3.0, 1.0, 2.0], [False, False, False], True) == 1
    assert best_place([3.0, 1.0, 3.0], [True, True, True], False) == 0
    assert best_place([nan, 1.0], [True, False], True) == 1
    assert best_place([nan, nan], [True, True], True) == -1


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"min_components": 0}, ValueError, r"min_components must be an int in the range \[1, inf\), got 0"),
        ({"min_components": 5, "max_components": 2}, ValueError, "max_components must be at least min_components"),
        ({"covariance_type": ["full", "round"]}, ValueError, "covariance_type must be one of .*got 'round'"),
        ({"covariance_type": []}, ValueError, "covariance_type must name one family at least"),
        ({"criterion": "mdl"}, ValueError, "criterion must be one of 'bic', 'aic', 'icl', 'held-out', got 'mdl'"),
        ({"criterion": "evidence"}, ValueError, "criterion must be one of 'bic'"),
        ({"criterion": "held-out", "n_folds": 1}, ValueError, r"n_folds must be an int in the range \[2, inf\)"),
        ({"criterion": "held-out", "n_folds": 150}, ValueError, "n_folds=150 needs 300 rows of positive weight"),
        ({"estimator": 3}, TypeError, "estimator must be a GaussianMixture or a BayesianGaussianMixture"),
        (
            {"estimator": GaussianMixture(means_init=np.zeros((1, 2)))},
            ValueError,
            "estimator.means_init is of one number",
        ),
        (
            {"estimator": GaussianMixture(init_params=np.zeros(200, int))},
            ValueError,
            "init_params must be the name of a method",
        ),
        ({"estimator": GaussianMixture(warm_start=True)}, ValueError, "estimator.warm_start must be False"),
        ({"estimator": GaussianMixture(tol=-1)}, ValueError, "tol must be a float"),
        ({"random_state": "a"}, ValueError, "random_state must be None"),
    ],
)
def test_refusals(rows, params, error, message):
    with pytest.raises(error, match=message):
        GaussianMixtureIC(**params).fit(rows)


def test_rows_held_out_are_in_memory(rows):
    batches = BatchRows(lambda: iter([rows[:100], rows[100:]]))
    with pytest.raises(ValueError, match="criterion='held-out' takes rows in memory"):
        GaussianMixtureIC(criterion="held-out").fit(batches)
    whole = GaussianMixtureIC(1, 3, covariance_type=["full", "diag"], random_state=0)
    alike = GaussianMixtureIC(1, 3, covariance_type=["full", "diag"], random_state=0).fit(batches)
    np.testing.assert_array_equal(whole.fit(rows).results_["bic"], alike.results_["bic"])


def test_interface(rows):
    clone = pytest.importorskip("sklearn.base").clone
    selection = GaussianMixtureIC(
        max_components=3, covariance_type=("full", "diag"), estimator=GaussianMixture(tol=1e-4), random_state=0
    )
    assert selection.get_params()["estimator__tol"] == 1e-4
    other = clone(selection).set_params(estimator__tol=1e-2, max_components=2)
    assert (other.estimator.tol, selection.estimator.tol, other.max_components) == (1e-2, 1e-4, 2)
    assert not hasattr(selection, "means_")
    with pytest.raises(ValueError, match="not fitted"):
        selection.predict(rows)
    labels = selection.fit_predict(rows)
    np.testing.assert_array_equal(labels, selection.predict(rows))
    assert selection.predict_proba(rows).shape == (200, selection.n_components_)
    assert selection.score(rows) == pytest.approx(selection.score_samples(rows).mean())
    assert selection.sample(5)[0].shape == (5, 2)
    again = pickle.loads(pickle.dumps(selection))
    np.testing.assert_array_equal(again.predict(rows), labels)
    lines = selection.summary(2).splitlines()
    assert len(lines) == 3
    assert lines[1].split()[:2] == [str(selection.n_components_), selection.covariance_type_]


def test_progress_in_order(rows, capsys):
    seen = []
    GaussianMixtureIC(1, 3, covariance_type=["full", "diag"], random_state=0, verbose=1, n_threads=2).fit(
        rows, callback=lambda candidate: seen.append(candidate[:2])
    )
    assert seen == [(k, family) for k in (1, 2, 3) for family in ("full", "diag")]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert lines[2].startswith("2 components, full: bic ")


def test_checkpoints_of_candidates(rows, tmp_path):
    estimator = GaussianMixture(checkpoint=str(tmp_path / "fit"), checkpoint_interval=0)
    selection = GaussianMixtureIC(1, 2, covariance_type=["full", "diag"], estimator=estimator, random_state=0).fit(rows)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"fit.{family}.{k}" for family in ("full", "diag") for k in (1, 2)}
    assert selection.best_estimator_.checkpoint == estimator.checkpoint


def test_an_interrupt_ends_all_and_keeps_what_was(rows, monkeypatch):
    monkeypatch.setattr(candidates, "LEAST_WORK", 0)
    selection = GaussianMixtureIC(1, 3, covariance_type="full", random_state=0, n_threads=2).fit(rows)
    before = selection.best_estimator_

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(restarts.Contender, "advance", interrupt)
    with pytest.raises(KeyboardInterrupt):
        selection.fit(rows)
    assert selection.best_estimator_ is before


def test_picture_of_the_criterion():
    pytest.importorskip("matplotlib")
    from fastgmm.plotting import plot_criterion

    X = read_columns("iris")[:, 3:]
    with pytest.warns(SpuriousComponentWarning):
        selection = GaussianMixtureIC(1, 8, covariance_type=["full", "tied"], random_state=0).fit(X)
    axes = plot_criterion(selection)
    lines = {line.get_label(): line for line in axes.get_lines()}
    table = selection.results_
    for family in ("full", "tied"):
        own = table["covariance_type"] == family
        np.testing.assert_array_equal(lines[family].get_xdata(), table["n_components"][own])
        np.testing.assert_array_equal(lines[family].get_ydata(), table["bic"][own])
    hollow = [line for line in axes.get_lines() if line.get_markerfacecolor() == "white"]
    drawn = sum(len(line.get_xdata()) for line in hollow)
    assert drawn == (table["spurious"] > 0).sum() > 0
    assert axes.get_ylabel() == "BIC"
    assert axes.get_title() == f"best: {selection.n_components_} components, {selection.covariance_type_}"


# --- merging and the bootstrap test ------------------------------------------------------------------------------


def _entropy_of(shares, weight):
    total = 0.0
    for row, w in zip(shares, weight, strict=True):
        total -= w * sum(t * np.log(t) for t in row if t > 0.0)
    return total


@pytest.mark.parametrize("weighted", [False, True])
def test_merges_lower_the_entropy_most(rows, weighted):
    """Against a twin that tries every pair in every step."""
    weight = np.random.default_rng(2).integers(1, 5, len(rows)).astype(float) if weighted else np.ones(len(rows))
    model = GaussianMixture(5, random_state=0, tol=1e-2).fit(rows, sample_weight=weight)
    merged = merge_components(model, rows, sample_weight=weight if weighted else None)
    groups = [[k] for k in range(5)]
    shares = model.predict_proba(rows)
    for n_clusters in range(5, 0, -1):
        table = np.column_stack([shares[:, group].sum(axis=1) for group in groups])
        assert merged.entropies[n_clusters - 1] == pytest.approx(_entropy_of(table, weight), rel=1e-9, abs=1e-9)
        of_component = merged.clusters(n_clusters)
        assert [sorted(np.flatnonzero(of_component == cluster)) for cluster in range(n_clusters)] == [
            sorted(group) for group in groups
        ]
        np.testing.assert_array_equal(merged.predict(rows, n_clusters), table.argmax(axis=1))
        unions = {}
        for i, j in combinations(range(n_clusters), 2):
            others = [cluster for cluster in range(n_clusters) if cluster not in (i, j)]
            unions[i, j] = _entropy_of(np.column_stack([table[:, others], table[:, i] + table[:, j]]), weight)
        if unions:
            first, second = min(unions, key=unions.get)
            groups[first] += groups.pop(second)


def test_a_cross_is_one_cluster():
    """Two components describe it, and overlap; a ball apart stays one: the first example of Baudry et al. (2010)."""
    rng = np.random.default_rng(0)
    cross = np.concatenate([rng.normal(size=(400, 2)) * [4, 0.3], rng.normal(size=(400, 2)) * [0.3, 4]])
    X = np.concatenate([cross, rng.normal(size=(300, 2)) * 0.5 + [8, 8]])
    model = GaussianMixture(3, n_init=5, random_state=0).fit(X)
    labels = merge_components(model, X).predict(X, 2)
    assert len(set(labels[:800])) == len(set(labels[800:])) == 1
    assert labels[0] != labels[-1]
    # BIC counts three normals, ICL still has them overlap.
    assert merge_components(model, X).elbow == 2


def test_merging_takes_frames_and_refuses_too_many_clusters(rows):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(rows, columns=["a", "b"])
    model = GaussianMixture(3, random_state=0).fit(frame)
    merged = merge_components(model, frame)
    np.testing.assert_array_equal(merged.predict(frame, 3), model.predict(frame))
    assert merged.predict_proba(frame, 1).ravel() == pytest.approx(np.ones(len(rows)))
    with pytest.raises(ValueError, match="n_clusters must be at most 3, the number of components, got 4"):
        merged.clusters(4)
    with pytest.raises(ValueError, match=r"n_clusters must be an int in the range \[1, inf\), got 0"):
        merged.clusters(0)


def test_bootstrap_test_finds_the_number(rows):
    test = bootstrap_test(rows, 4, n_samples=99, random_state=0)
    assert test.n_components == 2
    assert len(test.statistics) == len(test.p_values) == len(test.samples) == 2
    options = {"n_init": 5, "init_params": "kmeans", "tol": 1e-4, "max_iter": 500}
    seed = int(np.random.RandomState(0).uniform() * 2**31)
    fits = [GaussianMixture(k, random_state=seed, **options).fit(rows) for k in (1, 2, 3)]
    gains = [2 * len(rows) * (larger.score(rows) - smaller.score(rows)) for smaller, larger in pairwise(fits)]
    np.testing.assert_allclose(test.statistics, gains, rtol=1e-12)
    assert test.p_values[0] == 0.01
    assert test.p_values[1] == (1 + (test.samples[1] >= gains[1]).sum()) / 100 > 0.05


def test_bootstrap_test_of_one_normal_is_fair():
    """p-values of data without groups are spread over (0, 1)."""
    p_values = []
    for seed in range(20):
        X = np.random.default_rng(seed).normal(size=(60, 2))
        p_values.append(bootstrap_test(X, 1, n_samples=39, random_state=seed).p_values[0])
    assert 0.3 < np.mean(p_values) < 0.7
    assert np.std(p_values) > 0.15


def test_published_bootstrap_tests():
    """diabetes calls for three components; between one and three the gain is mclust's, 369.985 + 121.107."""
    test = bootstrap_test(read_columns("diabetes"), 5, n_samples=199, random_state=0)
    assert test.n_components == 3
    assert test.statistics[:2].sum() == pytest.approx(369.985 + 121.107, abs=0.05)
    np.testing.assert_array_equal(test.p_values[:2], [0.005, 0.005])
    assert test.p_values[2] > 0.05


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_components": 0}, ValueError, r"max_components must be an int in the range \[1, inf\)"),
        ({"n_samples": 0}, ValueError, r"n_samples must be an int in the range \[1, inf\)"),
        ({"level": 1.0}, ValueError, r"level must be in the range \(0, 1\), got 1.0"),
        ({"estimator": BayesianGaussianMixture()}, TypeError, "estimator must be a GaussianMixture of fastgmm"),
    ],
)
def test_bootstrap_refusals(rows, options, error, message):
    with pytest.raises(error, match=message):
        bootstrap_test(rows, **options)


# --- what a review found -----------------------------------------------------------------------------------------


def test_warnings_of_others_are_heard(rows):
    """Fits that are compared are quiet by themselves: filters of warnings belong to the whole process."""
    before = list(warnings.filters)
    with pytest.warns(UserWarning, match="of a callback"):
        GaussianMixtureIC(1, 2, covariance_type="full", random_state=0).fit(
            rows, callback=lambda _: warnings.warn("of a callback", stacklevel=1)
        )
    assert warnings.filters == before
    with pytest.warns(Warning, match=r"The best candidate \(2 components, full\) did not converge"):
        selection = GaussianMixtureIC(
            2, 2, covariance_type="full", estimator=GaussianMixture(max_iter=1, tol=0), random_state=0
        ).fit(rows)
    with pytest.warns(Warning, match="did not converge"):
        selection.best_estimator_.fit(rows)


def test_parts_that_are_held_out_have_no_checkpoint_and_too_few_rows_are_said(rows, tmp_path):
    estimator = GaussianMixture(checkpoint=str(tmp_path / "fit"), checkpoint_interval=0)
    options = {"covariance_type": "tied-spherical", "criterion": "held-out", "random_state": 0}
    GaussianMixtureIC(1, 2, estimator=estimator, **options).fit(rows)
    assert {path.name for path in tmp_path.iterdir()} == {"fit.tied-spherical.1", "fit.tied-spherical.2"}
    few = GaussianMixtureIC(1, 9, **options).fit(rows[:10])
    assert few.results_["error"][-1] == "Without a part that is held out, there are fewer rows than 9 components."
    assert few.results_["error"][7] == ""
    # Rows without weight are in no part.
    weight = np.r_[np.zeros(150), np.ones(50)]
    ours = GaussianMixtureIC(1, 2, **options).fit(rows, sample_weight=weight).results_["held-out"]
    theirs = GaussianMixtureIC(1, 2, **options).fit(rows[150:]).results_["held-out"]
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    with pytest.raises(ValueError, match="random_state must be an int where the estimator has a checkpoint"):
        GaussianMixtureIC(1, 2, estimator=estimator).fit(rows)


def test_an_interrupt_does_not_wait_for_whole_fits(monkeypatch):
    """The first candidate, of one component, is there at once; the others would go on for a thousand iterations."""
    monkeypatch.setattr(candidates, "LEAST_WORK", 0)
    X = np.random.default_rng(0).normal(size=(3000, 3))
    n_iterations = []
    advance = restarts.Contender.advance

    def counting(self, n_threads):
        try:
            advance(self, n_threads)
        finally:
            n_iterations.append(self._n_steps)

    monkeypatch.setattr(restarts.Contender, "advance", counting)

    def interrupt(candidate):
        raise KeyboardInterrupt

    estimator = GaussianMixture(tol=1e-14, max_iter=1000, init_params="kmeans")
    selection = GaussianMixtureIC(1, 6, covariance_type="full", estimator=estimator, random_state=0, n_threads=2)
    with pytest.raises(KeyboardInterrupt):
        selection.fit(X, callback=interrupt)
    assert not hasattr(selection, "best_estimator_")
    begun = sorted(n_iterations)
    assert begun[-1] < 500
    with pytest.warns(Warning, match="did not converge"):
        estimator.set_params(n_components=3, random_state=0).fit(X)
    assert max(n_iterations[len(begun) :]) == 1000


def test_weights_that_do_not_count_rows():
    X = np.random.default_rng(0).normal(size=(500, 2))
    selection = GaussianMixtureIC(1, 3, covariance_type="full", random_state=0)
    with pytest.warns(UserWarning, match="sample_weight sums to 1 over 500 rows"):
        selection.fit(X, sample_weight=np.full(500, 1 / 500))
    assert selection.fit(X, sample_weight=np.ones(500)).n_components_ == 1


def test_rows_of_a_user_are_left_as_they_were(rows):
    batches = BatchRows(lambda: iter([rows[:100], rows[100:]]))

    def fail(candidate):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        GaussianMixtureIC(1, 2, covariance_type="full", random_state=0).fit(batches, callback=fail)
    assert batches.shared is None


def test_columns_of_weights_and_classes_of_ones_own(rows):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(rows, columns=["a", "b"]).assign(w=1.0)
    labels = GaussianMixtureIC(1, 2, covariance_type="full", random_state=0).fit_predict(frame, sample_weight="w")
    assert labels.shape == (200,)

    class Own(GaussianMixture):
        def __init__(self, n_components=1, tol=1e-3):
            super().__init__(n_components, tol=tol)

    selection = GaussianMixtureIC(1, 2, covariance_type="full", estimator=Own(tol=1e-4), random_state=0).fit(rows)
    assert type(selection.best_estimator_) is Own
    assert bootstrap_test(rows, 1, estimator=Own(), n_samples=19, random_state=0).p_values == [0.05]
    assert GaussianMixtureIC(estimator=3).get_params()["estimator"] == 3


def test_selections_and_partitions_merge(rows):
    selection = GaussianMixtureIC(3, 3, covariance_type="full", random_state=0).fit(rows)
    whole = merge_components(selection, rows)
    assert whole.model is selection.best_estimator_
    array = pytest.importorskip("dask.array").from_array(rows, chunks=(70, 2))
    parts = merge_components(selection.best_estimator_, array)
    assert parts.merges == whole.merges
    np.testing.assert_allclose(parts.entropies, whole.entropies, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("entropies", "elbow"), [([0, 0, 0.1, 10, 20, 30], 3), ([0, 1, 2, 3, 30], 4), ([0, 1], 2)])
def test_elbow(entropies, elbow):
    assert Merged(None, [], np.array(entropies, float)).elbow == elbow


def test_samples_that_cannot_be_fitted_are_said():
    X = np.random.default_rng(1).normal(size=(9, 2))
    estimator = GaussianMixture(reg_covar=0, max_iter=200, init_params="random_from_data")
    with pytest.warns(Warning, match=r"Of 49 samples of 1 components, \d+ could not be fitted with 2"):
        bootstrap_test(X, 1, estimator=estimator, n_samples=49, random_state=1)
    with pytest.raises(ValueError, match=r"estimator\.means_init is of one number of components"):
        bootstrap_test(X, 1, estimator=GaussianMixture(means_init=[[0, 0]]))
    with pytest.raises(ValueError, match="fit_many cannot fit with accelerate='squarem'"):
        bootstrap_test(X, 1, estimator=GaussianMixture(accelerate="squarem"))


@pytest.mark.parametrize("n_threads", [1, 2])
def test_patience_leaves_out_what_is_larger_than_what_does_not_help(rows, n_threads, monkeypatch):
    """What is tried is what all candidates say, whichever thread is first; each says why it was not."""
    monkeypatch.setattr(candidates, "LEAST_WORK", 0 if n_threads == 2 else 2**40)
    options = {"covariance_type": ["full", "diag"], "random_state": 0, "n_threads": n_threads}
    whole = GaussianMixtureIC(1, 8, **options).fit(rows)
    some = GaussianMixtureIC(1, 8, patience=2, **options).fit(rows)
    for name in ("full", "diag"):
        mine = whole.results_["covariance_type"] == name
        bic = whole.results_["bic"][mine]
        last = next((i for i in range(2, 8) if bic[i - 2] == bic[: i + 1].min()), 7)
        assert last < 7
        theirs = some.results_["bic"][some.results_["covariance_type"] == name]
        np.testing.assert_array_equal(theirs[: last + 1], bic[: last + 1])
        assert np.isnan(theirs[last + 1 :]).all()
        reasons = some.results_["error"][some.results_["covariance_type"] == name]
        size = 1 + int(np.argmin(bic[: last + 1]))
        assert reasons[last + 1] == (
            f"Not tried: bic of {name} has not become better since {size} components (patience)."
        )
        assert list(reasons[: last + 1]) == [""] * (last + 1)
    assert (some.n_components_, some.covariance_type_) == (whole.n_components_, whole.covariance_type_)
    with pytest.raises(ValueError, match="patience must be"):
        GaussianMixtureIC(patience=0).fit(rows)


def test_agglomeration_and_seeds_are_made_once(monkeypatch):
    """Fits of several sizes have Ward's merges in common, and fits of several families seeds; same bits."""
    from fastgmm.starts import agglomeration, seeding

    X = read_columns("faithful")
    counts = {"ward": 0, "centres": 0}
    ward, pick = agglomeration.ward, seeding.pick_centres

    def counted(name, function):
        def call(*arguments):
            counts[name] += 1
            return function(*arguments)

        return call

    monkeypatch.setattr(agglomeration, "ward", counted("ward", ward))
    monkeypatch.setattr(seeding, "pick_centres", counted("centres", pick))
    for init_params, name, expected in (("agglomerative", "ward", 2), ("short-em", "centres", 30)):
        counts.update(ward=0, centres=0)
        estimator = GaussianMixture(init_params=init_params)
        selection = GaussianMixtureIC(
            2, 4, covariance_type=["full", "tied", "diag"], estimator=estimator, random_state=0, n_threads=1
        ).fit(X)
        # Of agglomeration one for families of matrices and one for those of variances; of seeds ten for each size.
        assert counts[name] == expected
        best = selection.best_estimator_
        alone = GaussianMixture(
            best.n_components,
            covariance_type=best.covariance_type,
            init_params=init_params,
            random_state=best.random_state,
        ).fit(X)
        np.testing.assert_array_equal(alone.means_, best.means_)
        assert alone.lower_bound_ == best.lower_bound_


@pytest.mark.parametrize("family", ["tied-spherical", "spherical", "full"])
@pytest.mark.parametrize("n_rows", [3, 4, 6, 10, 15])
def test_few_rows_are_not_components_each(n_rows, family):
    """Of normal rows the likelihood of nearly as many components as rows is highest by far, and says nothing."""
    X = np.random.default_rng(1).normal(size=(n_rows, 1))
    selection = GaussianMixtureIC(1, 9, covariance_type=family, random_state=0).fit(X)
    assert selection.n_components_ <= max(1, n_rows // 2)
    table = selection.results_
    fitted = table["error"] == ""
    too_many = (2 * table["n_components"] > n_rows) | (table["n_parameters"] >= n_rows)
    assert (table["doubt"][fitted & too_many & (table["n_components"] > 1)] != "").all()
    assert "free parameters, are too many for" in "".join(table["doubt"])
    chosen = table["n_parameters"][selection.best_index_]
    assert chosen < n_rows or selection.n_components_ == 1


def test_what_is_doubtful_is_no_progress():
    def candidate(size, value, doubt=""):
        return candidates.Candidate(size, "full", object(), {"bic": value}, 0.0, "", doubt)

    found = [candidate(1, 1000.0), candidate(2, -5000.0, "too many"), candidate(3, 900.0), candidate(4, 800.0)]
    assert candidates.Patience(2, "bic").dropped(found, "full") == ""
    found += [candidate(5, 900.0), candidate(6, 900.0)]
    assert "since 4 components" in candidates.Patience(2, "bic").dropped(found, "full")
