"""EM by hand: statistics of parts of the rows, added, lead where ``fit`` of all rows leads."""

import functools
import math
import operator
import pickle
import re
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest

from fastgmm import BayesianGaussianMixture, GaussianMixture, SufficientStatistics
from fastgmm.exceptions import (
    CollapsedComponentError,
    ConvergenceWarning,
    NotFittedError,
    OutOfRangeError,
    UnknownPriorError,
)
from fastgmm.families import FAMILIES, STRUCTURES

KINDS = GaussianMixture, BayesianGaussianMixture


def rows(n=240, offset=0.0, seed=0):
    """Return rows of three groups that overlap."""
    rng = np.random.default_rng(seed)
    return offset + rng.normal(size=(n, 2)) + np.array([[0.0, 0.0], [3.0, 1.0], [1.0, 4.0]])[np.arange(n) % 3]


def begun(kind, X, **params):
    """Return an estimator where its fit starts."""
    return kind(3, random_state=0, **params, max_iter=0).fit(X)


def added(model, X, weight=None, parts=5):
    """Return the statistics of parts of rows, added, with a trip through a pickle for each."""
    if weight is None:
        found = [model.statistics(part) for part in np.array_split(X, parts)]
    else:
        both = zip(np.array_split(X, parts), np.array_split(weight, parts), strict=True)
        found = [model.statistics(*each) for each in both]
    return functools.reduce(operator.add, [pickle.loads(pickle.dumps(each)) for each in found])


@pytest.mark.parametrize("name", list(STRUCTURES))
@pytest.mark.parametrize("kind", KINDS)
def test_statistics_are_the_weighted_sums(kind, name):
    """Beside the sums of a few lines of NumPy."""
    X, weight = rows(), np.linspace(0.0, 2.0, 240)
    model = begun(kind, X, covariance_type=name)
    found = model.statistics(X, weight)
    share = model.predict_proba(X) * weight[:, None]
    gap = X[:, None] - model.means_
    outer = np.einsum("nk,nka,nkb->kab", share, gap, gap)
    scatter = {
        "full": outer,
        "tied": outer.sum(axis=0),
        "diag": np.diagonal(outer, axis1=1, axis2=2),
        "spherical": np.trace(outer, axis1=1, axis2=2),
    }[name]
    expected = {
        "origin": model.means_,
        "mass": share.sum(axis=0),
        "deviation": np.einsum("nk,nka->ka", share, gap),
        "scatter": scatter,
        "log_evidence": weight @ model.score_samples(X),
        "weight": weight.sum(),
    }
    for field, value in expected.items():
        np.testing.assert_allclose(getattr(found, field), value, rtol=1e-10, atol=1e-10, err_msg=field)
    about = np.zeros((3, 2))
    moved, family = model.statistics(X, weight, origin=about), FAMILIES[name]
    np.testing.assert_array_equal(moved.origin, about)
    np.testing.assert_allclose(moved.scatter, family.recentre(found, about).scatter, rtol=1e-10)


@pytest.mark.parametrize(
    ("kind", "name"), [*((kind, name) for kind in KINDS for name in STRUCTURES), (GaussianMixture, "VEI")]
)
@pytest.mark.parametrize("weighted", [False, True])
def test_updates_are_the_iterations_of_fit(kind, name, weighted):
    X = rows()
    weight = np.random.default_rng(1).uniform(0.0, 2.0, 240) if weighted else None
    model = kind(3, covariance_type=name, random_state=0, max_iter=0).fit(X, sample_weight=weight)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        whole = kind(3, covariance_type=name, random_state=0, max_iter=4, tol=0).fit(X, sample_weight=weight)
    bounds = []
    for _ in range(4):
        assert model.update(added(model, X, weight)) is model
        bounds.append(model.lower_bound_)
    names = ["weights_", "means_", "covariances_", "precisions_cholesky_", "precisions_"]
    if kind is BayesianGaussianMixture:
        names += ["weight_concentration_", "mean_precision_", "degrees_of_freedom_"]
    for attribute in names:
        np.testing.assert_allclose(
            getattr(model, attribute), getattr(whole, attribute), rtol=1e-8, atol=1e-10, err_msg=attribute
        )
    # Each is the bound before its update.
    np.testing.assert_allclose(bounds[1:], whole.lower_bounds_[:-1], rtol=1e-10)
    assert (model.n_iter_, model.n_passes_, model.converged_, model.stop_reason_) == (4, 5, False, "update")
    assert model.lower_bounds_ == [model.lower_bound_]


def test_frozen_parts_stay():
    X = rows()
    start = GaussianMixture(3, random_state=0, max_iter=0).fit(X)
    known = {"means_init": start.means_, "weights_init": start.weights_, "precisions_init": start.precisions_}
    params = known | {"frozen": {"means": [1], "covariances": [1]}, "tol": 0}
    model = GaussianMixture(3, max_iter=0, **params).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        whole = GaussianMixture(3, max_iter=3, **params).fit(X)
    for _ in range(3):
        model.update(added(model, X))
    np.testing.assert_array_equal(model.means_[1], start.means_[1])
    np.testing.assert_allclose(model.means_, whole.means_, rtol=1e-9)
    np.testing.assert_allclose(model.covariances_, whole.covariances_, rtol=1e-8)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e150, 1e300])
def test_weights_of_any_scale(scale):
    """A fit does not depend on it; and what adds up is in the weights' own units."""
    X, weight = rows(), np.linspace(0.25, 1.0, 240)
    model = begun(GaussianMixture, X)
    plain = model.statistics(X, weight)
    parts = [model.statistics(part, w * scale) for part, w in zip(np.split(X, 4), np.split(weight, 4), strict=True)]
    total = functools.reduce(operator.add, parts)
    with pytest.raises(OutOfRangeError, match="overflow float64 by the size of sample_weight: divide it by one number"):
        model.statistics(X, weight * 2.0**1023)
    np.testing.assert_allclose(total.scatter / scale, plain.scatter, rtol=1e-10)
    assert total.weight == pytest.approx(plain.weight * scale, rel=1e-13)
    expected = pickle.loads(pickle.dumps(model)).update(plain)
    model.update(total)
    np.testing.assert_allclose(model.covariances_, expected.covariances_, rtol=1e-10)
    assert model.lower_bound_ == pytest.approx(expected.lower_bound_, rel=1e-12)


@pytest.mark.parametrize(("offset", "scale"), [(1e8, 1.0), (0.0, 1e-150), (0.0, 1e150)])
def test_data_far_out_and_of_any_scale(offset, scale):
    X = offset + scale * rows()
    model = begun(GaussianMixture, X, reg_covar=0.0)
    expected = begun(GaussianMixture, rows(), reg_covar=0.0)
    for _ in range(2):
        model.update(added(model, X))
        expected.update(added(expected, rows()))
    rtol = 1e-6 if offset else 1e-9
    np.testing.assert_allclose(model.covariances_ / scale / scale, expected.covariances_, rtol=rtol)


@pytest.mark.parametrize("kind", KINDS)
def test_moments_that_lost_their_digits_are_collected_again(kind):
    """Of a start so far from the rows that a first update leaps: fit makes another pass, here it is asked for."""
    X = rows(offset=1e9)
    prior = {} if kind is GaussianMixture else {"mean_precision_prior": 1e-30}
    model = kind(1, max_iter=0, **prior).fit(rows()).set_params(max_iter=1)
    before = model.means_.copy()
    total = added(model, X)
    with pytest.raises(ValueError, match=r"Collect them again by statistics\(X, origin=total.mean\)"):
        model.update(total)
    np.testing.assert_array_equal(model.means_, before)
    parts = [model.statistics(part, origin=total.mean) for part in np.split(X, 3)]
    model.update(functools.reduce(operator.add, parts))
    expected = np.cov((X - 1e9).T, bias=True)
    if kind is GaussianMixture:
        np.testing.assert_allclose(model.covariances_[0], expected + 1e-6 * np.eye(2), rtol=1e-6)
    else:
        np.testing.assert_allclose(model.means_[0], X.mean(axis=0), rtol=1e-12)
        assert np.abs(model.covariances_[0]).max() < 2 * expected.max()


def test_models_of_float32_and_of_frames():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(rows().astype(np.float32), columns=["a", "b"])
    model = begun(GaussianMixture, frame)
    assert model.statistics(frame.assign(w=2.0), "w").weight == 480.0
    model.update(model.statistics(frame[:100]) + model.statistics(frame[100:]))
    assert model.means_.dtype == np.float32
    assert model.feature_names_in_.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="feature names"):
        model.statistics(frame.rename(columns={"a": "c"}))


def test_one_row_one_column_one_component():
    model = GaussianMixture.from_parameters([1.0], [[0.0]], [[[1.0]]], reg_covar=0.0)
    parts = [model.statistics([[x]]) for x in (1.0, 2.0, 6.0)]
    model.update(parts[0] + parts[1] + parts[2])
    assert model.means_.tolist() == [[3.0]]
    assert model.covariances_.item() == pytest.approx(14 / 3)
    assert model.lower_bound_ == pytest.approx(-0.5 * math.log(2 * math.pi) - 41 / 6)
    assert model.n_samples_seen_ == 0


def test_nobody_writes_to_the_model_through_its_statistics():
    X = rows()
    model = begun(GaussianMixture, X)
    expected = model.score(X)
    model.statistics(X).origin[:] = 99.0
    assert model.score(X) == expected
    assert GaussianMixture.from_parameters(model.weights_, model.means_, model.covariances_).score(X) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_parts_without_rows_are_zeros(kind):
    X = rows()
    model = begun(kind, X)
    total = model.statistics(X)
    for part in (model.statistics(X[:0]), model.statistics(X[:9], np.zeros(9)), model.statistics(X[:0], np.ones(0))):
        assert not part.to_array().any()
        np.testing.assert_array_equal((part + total).to_array(), total.to_array())
    about = np.ones((3, 2))
    np.testing.assert_array_equal(model.statistics(X[:0], origin=about).origin, about)
    with pytest.raises(ValueError, match="of some weight"):
        model.update(model.statistics(X[:0]))
    with pytest.raises(ValueError, match="zeros only"):
        model.fit(X, sample_weight=np.zeros(240))
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        model.score(X[:0])
    with pytest.raises(ValueError, match="X has 1 features"):
        model.statistics(X[:0, :1])
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["a", "b"])
    assert begun(kind, frame).statistics(frame[:0]).weight == 0.0


def test_an_update_of_parameters_that_were_set_by_hand():
    X = rows()
    start = begun(GaussianMixture, X)
    model = GaussianMixture(3)
    model.weights_, model.means_ = start.weights_, start.means_
    model.covariances_, model.precisions_cholesky_ = start.covariances_, start.precisions_cholesky_
    model.update(model.statistics(X))
    np.testing.assert_array_equal(model.means_, start.update(start.statistics(X)).means_)
    assert (model.n_iter_, model.n_passes_, model.stop_reason_) == (1, 1, "update")


def test_rows_without_spread_are_a_cause_that_is_named():
    X = np.repeat([[1e3, 2e3]], 50, axis=0)
    model = GaussianMixture.from_parameters([1.0], [[0.0, 0.0]], [np.eye(2)], reg_covar=0.0)
    with pytest.raises(ValueError, match=r"or rows of a component have no spread\. .*a larger reg_covar or fewer"):
        model.update(model.statistics(X))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", list(FAMILIES))
def test_masses_sum_to_the_weight(kind, name):
    """In float32 arithmetic, with components left out and passed over, far out and of all families."""
    if kind is BayesianGaussianMixture and not FAMILIES[name].is_conjugate:
        return
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(20_000, 4)) + 100.0 * rng.integers(0, 2, (20_000, 1))).astype(np.float32)
    for params in ({}, {"truncate": 2}):
        model = kind(8, covariance_type=name, random_state=0, max_iter=0, **params).fit(X[::50])
        total = model.statistics(X, rng.uniform(0.0, 1e-3, 20_000))
        assert abs(total.mass.sum() / total.weight - 1.0) < 1e-7
        model.update(total)


def test_partial_fit_begins_anew_after_an_update():
    X = rows()
    model = GaussianMixture(3, random_state=0).fit(X)
    model.update(model.statistics(X)).partial_fit(X)
    assert model.n_batches_seen_ == 1


def statistics_with(model, **changes):
    """Return good statistics with some fields changed."""
    good = model.statistics(rows())
    fields = ("origin", "mass", "deviation", "scatter", "log_evidence", "weight")
    return SufficientStatistics(**{name: getattr(good, name) for name in fields} | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mass": np.ones(2)}, r"statistics.mass must have the shape \(3,\) of this mixture, got \(2,\)"),
        ({"scatter": np.ones((3, 2))}, r"statistics.scatter must have the shape \(3, 2, 2\) of this mixture"),
        ({"origin": np.ones((3, 1))}, r"statistics.origin must have the shape \(3, 2\) of this mixture"),
        ({"deviation": np.full((3, 2), np.nan)}, "Input statistics.deviation contains NaN"),
        ({"weight": 0.0}, "statistics must be those of rows of some weight, not 0.0"),
        ({"log_evidence": math.nan}, "Input statistics.log_evidence contains NaN"),
        ({"log_evidence": -math.inf}, "Input statistics.log_evidence contains infinity"),
        ({"weight": 240.1}, r"statistics.mass must sum to statistics.weight, 240.1, got (240|239.99)"),
        ({"mass": np.array([1.0, -1.0, 1.0])}, "statistics must be those of rows of some weight"),
    ],
)
def test_statistics_that_cannot_be_are_refused(changes, message):
    model = begun(GaussianMixture, rows())
    before = pickle.dumps(model)
    with pytest.raises(ValueError, match=message):
        model.update(statistics_with(model, **changes))
    assert pickle.dumps(model) == before


def test_what_is_no_part_of_the_mixture_is_refused():
    X = rows()
    model = begun(GaussianMixture, X)
    total = model.statistics(X)
    with pytest.raises(TypeError, match=r"statistics must be a SufficientStatistics, got \[1\]"):
        model.update([1])
    for call in (lambda: GaussianMixture(3).statistics(X), lambda: GaussianMixture(3).update(total)):
        with pytest.raises(NotFittedError):
            call()
    with pytest.raises(ValueError, match="update goes on with what was learned, 3 components of covariance 'full'"):
        begun(GaussianMixture, X).set_params(n_components=2).update(total)
    with pytest.raises(ValueError, match="X has 1 features"):
        model.statistics(X[:, :1])
    with pytest.raises(ValueError, match=r"origin must have the shape of means_, \(3, 2\), got \(2,\)"):
        model.statistics(X, origin=[0, 0])
    with pytest.raises(ValueError, match="Input origin contains NaN"):
        model.statistics(X, origin=np.full((3, 2), np.nan))
    one = begun(GaussianMixture, X).set_params(reg_covar=0.0)
    about = one.statistics(X[:1]).mean
    with pytest.raises(CollapsedComponentError):
        one.update(one.statistics(X[:1], origin=about))
    law = begun(BayesianGaussianMixture, X)
    names = ("weight_concentration", "mean_precision", "means", "degrees_of_freedom", "covariances")
    unknown = BayesianGaussianMixture.from_parameters(*(getattr(law, f"{name}_") for name in names))
    with pytest.raises(UnknownPriorError):
        unknown.update(unknown.statistics(X))
    with pytest.raises(ValueError, match="different origins"):
        model.statistics(X) + law.statistics(X)


def test_the_section_about_processes_runs(tmp_path, monkeypatch, capsys):
    page = Path(__file__).parents[1] / "docs" / "sources.md"
    if not page.exists():
        pytest.skip("needs a checkout")
    monkeypatch.chdir(tmp_path)
    section = page.read_text().partition("\n## Statistics across processes\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert len(blocks) == 2
    names = {"__name__": "__main__"}
    for block in blocks:
        exec(compile(block, str(page), "exec"), names)
    n_updates = names["n_updates"]
    assert capsys.readouterr().out.split()[0] == str(n_updates)
    assert 1 < n_updates < 100
    start = GaussianMixture(2, max_iter=0, random_state=0).fit(names["X"][::10])
    whole = start.set_params(warm_start=True, max_iter=n_updates, tol=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        whole.fit(names["X"])
    np.testing.assert_allclose(names["model"].means_, whole.means_, rtol=1e-10)
    # MPI, of a world of one.
    np.save("rows-0.npy", names["X"])
    np.save("sample.npy", names["X"][::10])
    world = types.SimpleNamespace(rank=0, bcast=lambda each: each, Allreduce=lambda mine, total: np.copyto(total, mine))
    monkeypatch.setitem(sys.modules, "mpi4py", types.SimpleNamespace(MPI=types.SimpleNamespace(COMM_WORLD=world)))
    (text,) = re.findall(r"```text\n(.*?)```", section, re.DOTALL)
    exec(compile(text, str(page), "exec"), names)
    whole.set_params(max_iter=1000, tol=1e-11).fit(names["X"])
    np.testing.assert_allclose(names["model"].means_, whole.means_, atol=1e-6)
