"""Components on repeated values: named, marked, and no winners; real groups, however tight, are none."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits, load_wine

from fastgmm import BayesianGaussianMixture, GaussianMixture, cli, datasets, fit_many
from fastgmm.exceptions import SpuriousComponentWarning
from fastgmm.io import load_model, save_model

FAMILIES = ["full", "tied", "diag", "spherical"]
IRIS = datasets.load_iris().data
WIDTH = IRIS[:, 3:]


def marked(model, X, **options):
    """Return the components that a fit marks; whatever it warns of must be those, or ones apart."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, **options)
    told = [each for each in caught if each.category is SpuriousComponentWarning]
    assert len(told) <= 1
    assert bool(told) >= bool(model.spurious_)
    return [each.component for each in model.spurious_]


def halves(first, second):
    return np.repeat([0, 1], [first, second])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("scale", [0.1, 1.0, 1e3, 1e6])
def test_rounded_widths_of_petals(scale, dtype):
    X = (WIDTH * scale).astype(dtype)
    labels = np.searchsorted([0.8, 1.55], WIDTH.ravel())
    labels[WIDTH.ravel() == 0.2] = 3
    # Component 3 has one value; the others have many, on whatever scale.
    model = GaussianMixture(4, init_params=labels)
    assert marked(model, X) == [3]
    assert model.covariances_[3] == pytest.approx(1e-6, rel=1e-3)
    assert model.restarts_[0].spurious == 3


def test_the_warning_names_component_value_and_remedy():
    with pytest.warns(SpuriousComponentWarning, match=r"component 0 sits on one repeated value, x1 = 0.2 \(19%.*fewer"):
        GaussianMixture(8, random_state=0).fit(WIDTH)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_a_column_of_codes(covariance_type):
    rng = np.random.default_rng(0)
    X = np.c_[rng.normal(size=400), halves(200, 200)]
    if covariance_type == "spherical":
        X = X[:, 1:]
    model = GaussianMixture(2, covariance_type=covariance_type, init_params=halves(200, 200))
    components = marked(model, X)
    assert components == [0, 1]
    # The same column with the noise of its rounding, and one that is constant everywhere.
    smooth = X + rng.uniform(-0.5, 0.5, X.shape) * 0.2
    assert marked(model, smooth) == []
    assert marked(model, np.c_[smooth, np.full(400, 7.0)]) == []
    assert marked(GaussianMixture(1, covariance_type=covariance_type), X) == []


def test_rows_on_a_line_within_a_component():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(200, 2))
    b = rng.normal(size=200) + 5
    X = np.r_[a, np.c_[b, 2 * b]]
    assert marked(GaussianMixture(2, init_params=halves(200, 200)), X) == [1]


@pytest.mark.parametrize("scale", [1.0, 1e4, 1e8, 1e12])
@pytest.mark.parametrize("n_rows", [5, 300])
@pytest.mark.parametrize("n_features", [1, 2, 4])
def test_a_real_tight_group_is_none(scale, n_rows, n_features):
    rng = np.random.default_rng(1)
    X = np.r_[rng.normal(size=(300, n_features)), 2.0 + 1e-4 * rng.normal(size=(n_rows, n_features))] * scale
    model = GaussianMixture(2, reg_covar=1e-10 * scale**2, init_params=halves(300, n_rows))
    assert marked(model, X) == []
    assert model.restarts_[0].spurious == -1
    # Nor where reg_covar hides its width.
    assert marked(model.set_params(reg_covar=1e-6 * scale**2), X) == []


def test_an_outlier_and_a_code_far_away_are_named_but_right():
    X = np.r_[np.random.default_rng(0).normal(size=100), np.full(5, -9999.0)][:, None]
    model = GaussianMixture(2, init_params=halves(100, 5))
    with pytest.warns(SpuriousComponentWarning, match="-9999.*a code for a missing value"):
        model.fit(X)
    assert model.spurious_ == []
    assert model.restarts_[0].spurious == -1


def test_weights_are_copies():
    values, counts = np.unique(WIDTH, return_counts=True)
    model = GaussianMixture(2, init_params=(values == 0.2).astype(int))
    assert marked(model, values[:, None], sample_weight=counts) == [1]


def test_a_start_with_a_spike_loses():
    spike = (WIDTH.ravel() == 0.2).astype(int)
    good = (WIDTH.ravel() > 0.8).astype(int)
    queue = iter([spike, good])
    model = GaussianMixture(2, n_init=2, init_params=lambda X, k, random_state: next(queue))
    assert marked(model, WIDTH) == []
    assert [each.spurious for each in model.restarts_] == [1, -1]
    assert model.restarts_[0].bound > model.restarts_[1].bound == model.lower_bound_


def test_partial_fit_marks_and_warns_once():
    spike = (WIDTH.ravel() == 0.2).astype(int)
    model = GaussianMixture(2, init_params=spike)
    with pytest.warns(SpuriousComponentWarning):
        model.partial_fit(WIDTH)
    model.partial_fit(WIDTH)
    assert [each.component for each in model.spurious_] == [1]


def test_files(tmp_path):
    np.save(tmp_path / "width.npy", WIDTH)
    assert marked(GaussianMixture(8, random_state=0), tmp_path / "width.npy") == marked(
        GaussianMixture(8, random_state=0), WIDTH
    )


def test_many():
    rng = np.random.default_rng(0)
    X = np.stack([WIDTH, WIDTH + rng.uniform(-0.05, 0.05, WIDTH.shape)])
    with pytest.warns(SpuriousComponentWarning, match="1 of 2 problems"):
        many = fit_many(GaussianMixture(8, random_state=0), X)
    assert len(many.spurious_[0]) > 0
    assert many.spurious_[1] == []
    assert many[0].spurious_ == many.spurious_[0]


def test_many_choose_among_starts_as_single_fits_do():
    rng = np.random.default_rng(1)
    # Widths of which a few of many starts end on repeated values, with the highest bound.
    X = np.stack([rng.permutation(WIDTH)[:120] for _ in range(12)])
    estimator = GaussianMixture(3, n_init=8, init_params="random_from_data", random_state=0, tol=1e-8, max_iter=500)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        many = fit_many(estimator, X)
        singles = [GaussianMixture(**estimator.get_params()).fit(rows) for rows in X]
    overruled = 0
    for i, single in enumerate(singles):
        assert many.lower_bound_[i] == pytest.approx(single.lower_bound_, abs=1e-8)
        assert [each.component for each in many.spurious_[i]] == [each.component for each in single.spurious_]
        overruled += max(single.restarts_, key=lambda restart: restart.bound).spurious >= 0
    assert overruled > 3


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_model_files(suffix, tmp_path):
    model = GaussianMixture(2, init_params=(WIDTH.ravel() == 0.2).astype(int))
    assert marked(model, WIDTH) == [1]
    save_model(model, tmp_path / f"model{suffix}")
    assert load_model(tmp_path / f"model{suffix}").spurious_ == model.spurious_


def test_the_command_line_names_the_column(tmp_path, capsys):
    path = tmp_path / "widths.csv"
    path.write_text("petal width\n" + "\n".join(map(repr, WIDTH.ravel().tolist())) + "\n")
    assert cli.main(["fit", str(path), "-k", "8", "-o", str(tmp_path / "model.json")]) == 0
    assert "sits on one repeated value, petal width = " in capsys.readouterr().err
    assert cli.main(["info", str(tmp_path / "model.json")]) == 0
    assert "sits on one repeated value, petal width = " in capsys.readouterr().out
    assert cli.main(["fit", str(path), "-k", "1-8"]) == 0
    assert "petal width = " in capsys.readouterr().err


def test_a_variational_fit_only_where_its_prior_is_tiny():
    spike = (WIDTH.ravel() == 0.2).astype(int)
    options = {"init_params": spike, "max_iter": 300}
    assert marked(BayesianGaussianMixture(2, **options), WIDTH) == []
    tiny = {"covariance_prior": [[1e-6]], "mean_precision_prior": 1e-9, "degrees_of_freedom_prior": 1.0}
    assert marked(BayesianGaussianMixture(2, **options, **tiny), WIDTH) == [1]


@pytest.mark.parametrize(
    "column",
    [load_wine().data[:, 4], load_diabetes(scaled=False).data[:, 3], load_digits().data[:, 20]],
    ids=["magnesium", "blood pressure", "saturated pixel"],
)
def test_the_choice_of_a_number_of_components(column, tmp_path, capsys):
    path = tmp_path / "column.csv"
    path.write_text("value\n" + "\n".join(map(repr, column.tolist())) + "\n")
    assert cli.main(["fit", str(path), "-k", "1-15", "--init", "k-means++"]) == 0
    out, err = capsys.readouterr()
    best = next(line for line in out.splitlines() if line.endswith("best"))
    passed_over = [line for line in out.splitlines() if line.endswith("spurious")]
    assert passed_over
    assert "spurious" not in best
    assert "passed over although its BIC is better" in err
    rows = [line.split() for line in out.splitlines() if line.strip()[:2].strip().isdigit() and len(line.split()) >= 5]
    sensible = [float(row[2]) for row in rows if row[-1] != "spurious"]
    assert float(best.split()[2]) == min(sensible)
    assert cli.main(["fit", str(path), "-k", "1-15", "--init", "k-means++", "--quiet", "-o", str(path) + ".json"]) == 0
    assert "passed over" in capsys.readouterr().err
