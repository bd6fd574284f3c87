"""What is drawn is where the mixture says it is."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastgmm import BayesianGaussianMixture, GaussianMixture, GaussianMixtureIC
from fastgmm.datasets import load_diabetes, load_faithful, load_galaxies, load_iris

pytest.importorskip("matplotlib")

from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Rectangle

from fastgmm.fitting.restarts import Restart
from fastgmm.plotting import (
    PALETTE,
    CriterionPoint,
    check_image_path,
    plot_mixture,
    plot_pairs,
    plot_points,
    plot_trace,
    plot_uncertainty,
)

FAMILIES = ["full", "tied", "diag", "spherical"]
COVARIANCES = {
    "full": [[[2.0, 0.6], [0.6, 1.0]], [[1.0, -0.3], [-0.3, 0.5]]],
    "tied": [[2.0, 0.6], [0.6, 1.0]],
    "diag": [[2.0, 1.0], [1.0, 0.5]],
    "spherical": [2.0, 0.5],
}


def matrices(model):
    """Return the covariance matrix of each component, written out by hand."""
    covariances, n_features = model.covariances_, model.means_.shape[1]
    return [
        {
            "full": lambda k: covariances[k],
            "tied": lambda k: covariances,
            "diag": lambda k: np.diag(covariances[k]),
            "spherical": lambda k: covariances[k] * np.eye(n_features),
        }[model.covariance_type](k)
        for k in range(len(model.weights_))
    ]


def outlines(axes):
    """Return the outline of each ellipse as the covariance matrix that has it at one deviation, with its centre."""
    found = []
    for patch in axes.patches:
        if isinstance(patch, Ellipse) and not patch.fill:
            turn = np.radians(patch.angle)
            rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
            shape = rotation @ np.diag([patch.width / 2, patch.height / 2]) ** 2 @ rotation.T
            found.append((np.array(patch.center), shape))
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_ellipses_are_at_one_and_two_deviations(family):
    model = GaussianMixture.from_parameters([0.3, 0.7], [[0.0, 1.0], [5.0, 4.0]], COVARIANCES[family], family)
    rows = model.sample(100, random_state=0)[0]
    found = outlines(plot_mixture(model, rows))
    assert len(found) == 4
    for index, covariance in enumerate(matrices(model)):
        for deviations, (centre, shape) in zip((1, 2), found[2 * index :], strict=False):
            np.testing.assert_allclose(centre, model.means_[index])
            np.testing.assert_allclose(shape, deviations**2 * covariance, atol=1e-12)


def standardised(data, weight=None):
    """Return the means and the standard deviations of columns."""
    mean = np.average(data, axis=0, weights=weight)
    return mean, np.sqrt(np.average((data - mean) ** 2, axis=0, weights=weight))


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_more_features_are_projected_on_the_principal_axes_of_the_data(family, standardize):
    iris = load_iris()
    # Millimetres of one column would decide the axes, were they not standardised.
    data = iris.data * [10.0, 1.0, 1.0, 1.0]
    model = GaussianMixture(3, covariance_type=family, random_state=0).fit(data)
    axes = plot_mixture(model, data, standardize=standardize, feature_names=["a", "b", "c", "d"])
    mean, unit = standardised(data)
    unit = unit if standardize else np.ones(4)
    variances, directions = np.linalg.eigh(np.cov((data - mean) / unit, rowvar=False))
    plane = directions[:, [3, 2]]
    plane = plane * np.sign([plane[abs(plane[:, 0]).argmax(), 0], plane[abs(plane[:, 1]).argmax(), 1]])
    projected = (data - mean) / unit @ plane
    labels = model.predict(data)
    for index, (collection, covariance) in enumerate(zip(axes.collections, matrices(model), strict=True)):
        np.testing.assert_allclose(collection.get_offsets(), projected[labels == index], atol=1e-9)
        centre, shape = outlines(axes)[2 * index]
        np.testing.assert_allclose(centre, (model.means_[index] - mean) / unit @ plane, atol=1e-9)
        scaled = covariance / unit / unit[:, None]
        np.testing.assert_allclose(shape, plane.T @ scaled @ plane, atol=1e-9)
    for label, place in ((axes.get_xlabel(), 0), (axes.get_ylabel(), 1)):
        share, terms = label.split("\n")
        assert share == f"principal axis {place + 1} ({variances[3 - place] / variances.sum():.0%} of the variance):"
        largest = np.argsort(-abs(plane[:, place]))[:2]
        assert terms.endswith(" + ...")
        assert terms.startswith(f"{plane[largest[0], place]:.2f} {'abcd'[largest[0]]} ")
        for column in largest[1:]:
            value = plane[column, place]
            assert f" {'-' if value < 0 else '+'} {abs(value):.2f} {'abcd'[column]} " in terms


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_pictures_in_extreme_units_are_those_of_common_ones(scale):
    """Of three columns; matplotlib draws no numbers of such sizes itself."""
    data = np.c_[load_faithful().data, np.zeros(272)]
    unit = np.array([scale, 1.0, 1.0])
    weights, means = [0.4, 0.6], np.array([[2.0, 54.0, 0.0], [4.3, 80.0, 0.0]])
    variances = np.array([[0.07, 34.0, 1.0], [0.17, 36.0, 1.0]])
    drawn = []
    for factor in (np.ones(3), unit):
        model = GaussianMixture.from_parameters(weights, means * factor, variances * factor**2, "diag")
        axes = plot_mixture(model, data * factor)
        drawn.append(np.concatenate([np.ravel(part) for pair in outlines(axes) for part in pair]))
        drawn.append(np.concatenate([np.ravel(part.get_offsets()) for part in axes.collections]))
    np.testing.assert_allclose(drawn[2], drawn[0], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(drawn[3], drawn[1], rtol=1e-9, atol=1e-9)


def test_one_row_of_three_columns_is_drawn():
    model = GaussianMixture.from_parameters([1.0], np.zeros((1, 3)), np.ones((1, 3)), "diag")
    (points,) = plot_mixture(model, [[1.0, 2.0, 3.0]]).collections
    assert np.isfinite(points.get_offsets()).all()


def test_weights_turn_the_principal_axes():
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(size=(50, 3)) * [9, 1, 0.1], rng.normal(size=(50, 3)) * [0.1, 1, 9]])
    model = GaussianMixture(1).fit(rows)
    weight = np.repeat([1.0, 0.0], 50)
    axes = plot_mixture(model, rows, sample_weight=weight, standardize=False)
    first, second = np.var(rows[:50], axis=0)[:2] / np.var(rows[:50], axis=0).sum()
    assert float(axes.get_xlabel().split("(")[1].split("%")[0]) == pytest.approx(100 * first, abs=2)
    assert float(axes.get_ylabel().split("(")[1].split("%")[0]) == pytest.approx(100 * second, abs=2)
    # And their units.
    axes = plot_mixture(model, rows, sample_weight=weight)
    mean, unit = standardised(rows, weight)
    values = np.linalg.eigvalsh(np.cov(((rows - mean) / unit)[:50], rowvar=False))
    assert float(axes.get_xlabel().split("(")[1].split("%")[0]) == pytest.approx(100 * values[2] / values.sum(), abs=1)


def test_points_are_coloured_by_component():
    data = load_faithful().data
    model = GaussianMixture(2, random_state=0).fit(data)
    axes = plot_mixture(model, data)
    labels = model.predict(data)
    for index, collection in enumerate(axes.collections):
        np.testing.assert_array_equal(collection.get_offsets(), data[labels == index])
        assert to_hex(collection.get_facecolor()[0]).upper() == PALETTE[index]


def test_title_legend_and_labels():
    faithful = load_faithful()
    model = GaussianMixture(2, covariance_type="tied", random_state=0).fit(faithful.data)
    axes = plot_mixture(model, faithful.data, feature_names=["a $ per $", "b"])
    assert axes.get_title() == f"2 components, tied covariance, BIC {model.bic(faithful.data):.1f}"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("a $ per $", "b")
    assert not axes.xaxis.label.get_parse_math()
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == [f"{index}: {weight:.1%}" for index, weight in enumerate(model.weights_)]
    bare = plot_mixture(model, faithful.data)
    assert (bare.get_xlabel(), bare.get_ylabel()) == ("x1", "x2")


def test_names_of_a_data_frame_are_used_without_a_warning():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(load_faithful().data, columns=["eruptions", "waiting"])
    model = GaussianMixture(2, random_state=0).fit(frame)
    axes = plot_mixture(model, frame)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("eruptions", "waiting")


def test_long_legends_are_cut():
    data = load_faithful().data
    model = GaussianMixture.from_parameters(np.full(25, 0.04), data[:25], np.ones(25), "spherical")
    texts = [text.get_text() for text in plot_mixture(model, data).get_legend().get_texts()]
    assert len(texts) == 20
    assert texts[-1] == "19: 4.0%\nand 5 more"


def circle(n_components, n_features=2):
    """Return a made mixture of components around a circle, and rows near them."""
    turn = 2 * np.pi * np.arange(n_components) / n_components
    means = 10 * np.column_stack([np.cos(turn + phase) for phase in range(n_features)])
    weights = np.full(n_components, 1 / n_components)
    model = GaussianMixture.from_parameters(weights, means, np.ones(n_components), "spherical")
    return model, np.concatenate([means, means + 0.5, means - 0.5])


@pytest.mark.parametrize(("n_components", "last"), [(20, "19: 5.0%"), (22, "19: 4.5%\nand 2 more")])
def test_long_legends_count_components_alone_and_keep_the_mixture(n_components, last):
    model, rows = circle(n_components)
    legends = [plot_mixture(model.marginal(0), rows[:, :1]).get_legend(), plot_pairs(model, rows).legends[0]]
    for legend in legends:
        texts = [text.get_text() for text in legend.get_texts()]
        assert len(texts) == 21
        assert texts[-2:] == [last, "mixture"]


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["constrained", None, "later"])
@pytest.mark.parametrize("kind", ["mixture", "uncertainty", "criterion"])
def test_long_legends_in_axes_of_the_caller_hide_nothing(kind, layout):
    figure = Figure(layout=layout if layout == "constrained" else None)
    _, axes = figure.subplots(1, 2) if kind == "criterion" else (None, figure.add_subplot())
    if kind == "criterion":
        points = [CriterionPoint(k, f"family {n}", k + n, True, k + n == 1) for n in range(14) for k in (1, 2)]
        plot_points(points, "bic", axes)
    else:
        (plot_mixture if kind == "mixture" else plot_uncertainty)(*circle(24), axes)
    if layout == "later":
        figure.tight_layout()
    figure.draw_without_rendering()
    legend = axes.get_legend().get_window_extent()
    assert not legend.overlaps(axes.get_window_extent())
    assert 0 <= legend.x0 < legend.x1 <= figure.bbox.x1
    assert 0 <= legend.y0 < legend.y1 <= figure.bbox.y1
    assert axes.get_window_extent().width > 0.15 * figure.bbox.x1


def test_large_data_are_thinned_out_the_same_way_each_time():
    data = np.random.default_rng(0).normal(size=(3000, 2))
    model = GaussianMixture(2, random_state=0).fit(data)

    def drawn():
        axes = plot_mixture(model, data, max_points=500)
        assert "500 of 3,000 rows drawn" in [text.get_text() for text in axes.texts]
        return np.concatenate([collection.get_offsets() for collection in axes.collections])

    first, second = drawn(), drawn()
    np.testing.assert_array_equal(first, second)
    rows = {tuple(row) for row in data.tolist()}
    assert len(first) == 500
    assert {tuple(row) for row in first.tolist()} < rows
    assert not any("drawn" in text.get_text() for text in plot_mixture(model, data[:500], max_points=500).texts)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_feature_shows_densities(family):
    values = load_faithful().data[:, 1:]
    model = GaussianMixture(2, covariance_type=family, random_state=0).fit(values)
    axes = plot_mixture(model, values, feature_names=["waiting"])
    *components, total = axes.lines
    for line, weight, mean, covariance in zip(components, model.weights_, model.means_, matrices(model), strict=True):
        points, density = line.get_data()
        variance = covariance[0, 0]
        expected = weight * np.exp(-((points - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)
        np.testing.assert_allclose(density, expected, rtol=1e-9, atol=1e-300)
        assert density.max() == pytest.approx(weight / np.sqrt(2 * np.pi * variance), rel=1e-3)
    points, density = total.get_data()
    np.testing.assert_allclose(np.log(density), model.score_samples(points[:, np.newaxis]), rtol=1e-6)
    area = sum(patch.get_width() * patch.get_height() for patch in axes.patches)
    assert area == pytest.approx(1)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("waiting", "density")


def test_histogram_counts_weights():
    values = np.repeat([0.0, 10.0], 50)[:, np.newaxis] + np.linspace(0, 1, 100)[:, np.newaxis]
    model = GaussianMixture(2, random_state=0).fit(values)
    axes = plot_mixture(model, values, sample_weight=np.repeat([3.0, 1.0], 50))
    left = sum(patch.get_width() * patch.get_height() for patch in axes.patches if patch.get_x() < 5)
    assert left == pytest.approx(0.75)


def test_axes_of_the_caller_are_used():
    data = load_faithful().data
    model = GaussianMixture(2, random_state=0).fit(data)
    axes = Figure().add_subplot()
    assert plot_mixture(model, data, axes) is axes
    assert len(outlines(axes)) == 4


@pytest.mark.parametrize("n_features", [1, 2, 4])
def test_nothing_lies_outside_the_picture(n_features):
    data = load_iris().data[:, :n_features]
    model = GaussianMixture(3, random_state=0).fit(data)
    axes = plot_mixture(model, data)
    figure = axes.figure
    figure.draw_without_rendering()
    frame = figure.bbox
    low, high = axes.get_xlim()
    ticks = [
        text for place, text in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True) if low <= place <= high
    ]
    for artist in (axes.title, axes.xaxis.label, axes.yaxis.label, axes.get_legend(), *ticks):
        box = artist.get_window_extent()
        assert frame.x0 <= box.x0
        assert box.x1 <= frame.x1
        assert frame.y0 <= box.y0
        assert box.y1 <= frame.y1
    assert not axes.get_legend().get_window_extent().overlaps(axes.get_window_extent())
    (low, high), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    for centre, shape in outlines(axes):
        reach = np.sqrt(np.diag(shape))
        assert np.all(centre - reach >= [low, bottom])
        assert np.all(centre + reach <= [high, top])


def some_of_six(data, **params):
    """Return a fit of six components that leaves some of them ineffective, not the last ones, and those it keeps."""
    model = BayesianGaussianMixture(
        6,
        weight_concentration_prior_type="dirichlet_distribution",
        weight_concentration_prior=1e-3,
        max_iter=1000,
        random_state=0,
        **params,
    ).fit(data)
    effective = np.flatnonzero(model.component_mass_ >= 1)
    assert 2 <= len(effective) < 6
    assert effective.tolist() != list(range(len(effective)))
    return model, effective


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("n_features", [2, 3])
def test_of_variational_bayes_only_effective_components_are_drawn(family, n_features):
    data = np.random.default_rng(0).normal(size=(200, n_features)) * 2.0
    data[:80] += 9.0
    model, effective = some_of_six(data, covariance_type=family)
    axes = plot_mixture(model, data, standardize=False)
    bound = model.evidence_lower_bound(data)
    assert axes.get_title() == (
        f"{len(effective)} of 6 effective components, {family} covariance, evidence bound {bound:.1f}"
    )
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == [f"{index}: {model.weights_[index]:.1%}" for index in effective]
    plane = np.eye(2)
    origin = np.zeros(2)
    if n_features == 3:
        origin = data.mean(axis=0)
        plane = np.linalg.eigh(np.cov(data, rowvar=False))[1][:, [2, 1]]
        plane = plane * np.sign(plane[abs(plane).argmax(axis=0), [0, 1]])
    found = outlines(axes)
    assert len(found) == 2 * len(effective)
    labels = model.predict(data)
    assert len(axes.collections) == len(effective)
    for position, index in enumerate(effective):
        centre, shape = found[2 * position]
        np.testing.assert_allclose(centre, (model.means_[index] - origin) @ plane, atol=1e-9)
        np.testing.assert_allclose(shape, plane.T @ matrices(model)[index] @ plane, atol=1e-9)
        drawn = axes.collections[position]
        np.testing.assert_allclose(drawn.get_offsets(), (data[labels == index] - origin) @ plane, atol=1e-9)
        assert to_hex(drawn.get_facecolor()[0]).upper() == PALETTE[index]


def test_of_variational_bayes_only_effective_densities_are_drawn():
    values = load_faithful().data[:, 1:]
    model, effective = some_of_six(values)
    axes = plot_mixture(model, values)
    assert axes.get_title().startswith("2 of 6 effective components, full covariance, evidence bound -")
    *components, total = axes.lines
    for line, index in zip(components, effective, strict=True):
        points, density = line.get_data()
        part = GaussianMixture.from_parameters([1.0], model.means_[[index]], model.covariances_[[index]])
        expected = model.weights_[index] * np.exp(part.score_samples(points[:, np.newaxis]))
        np.testing.assert_allclose(density, expected, rtol=1e-9, atol=1e-300)
    points, density = total.get_data()
    expected = model.score_samples(points[:, np.newaxis], predictive="plug-in")
    np.testing.assert_allclose(np.log(density), expected, rtol=1e-6)
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == [*(f"{index}: {model.weights_[index]:.1%}" for index in effective), "mixture"]


def bayesian(**params):
    """Return a made model of a component of 99 rows, and one of half a row at (9, 9)."""
    return BayesianGaussianMixture.from_parameters(
        [100.0, 1.5], [100.0, 1.5], [[0.0, 0.0], [9.0, 9.0]], [100.0, 1.5], [1.0, 1.0], "spherical",
        weight_concentration_prior_type="dirichlet_distribution", weight_concentration_prior=1.0, **params,
    )  # fmt: skip


def test_rows_of_other_components_are_grey():
    rows = np.array([[0.0, 1.0], [9.0, 8.0], [1.0, 0.0]])
    model = bayesian(mean_prior=[0.0, 0.0], covariance_prior=1.0)
    axes = plot_mixture(model, rows)
    first, others = axes.collections
    np.testing.assert_array_equal(first.get_offsets(), rows[[0, 2]])
    np.testing.assert_array_equal(others.get_offsets(), rows[[1]])
    red, green, blue = others.get_facecolor()[0, :3]
    assert red == green == blue
    assert len(axes.get_legend().get_texts()) == 1
    assert len(outlines(axes)) == 2


def test_without_its_prior_a_model_is_drawn_whole():
    axes = plot_mixture(bayesian(), [[0.0, 1.0], [9.0, 8.0]])
    assert axes.get_title() == "2 of 2 effective components, spherical covariance"
    assert len(outlines(axes)) == 4


def test_weights_count_in_the_bound_of_the_title():
    data, weight = load_faithful().data, np.arange(272) % 3 + 1.0
    model, _ = some_of_six(data)
    title = plot_mixture(model, data, sample_weight=weight).get_title()
    assert title.endswith(f"evidence bound {model.evidence_lower_bound(data, sample_weight=weight):.1f}")


def test_names_of_pictures():
    check_image_path("a.png")
    check_image_path("folder/a.SVG")
    with pytest.raises(ValueError, match=r"cannot draw to a\.doc: the name must end in one of .*\.png"):
        check_image_path("a.doc")


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    model = GaussianMixture.from_parameters([1.0], [[0.0]], [1.0], "spherical")
    with pytest.raises(ImportError, match=r'pictures need matplotlib: pip install "fastgmm\[plot\]"'):
        plot_mixture(model, [[0.0]])


@pytest.mark.slow
def test_pyplot_is_left_alone():
    code = "import sys, fastgmm.plotting as plotting; from fastgmm import GaussianMixture as Mixture; " \
        "plotting.plot_mixture(Mixture.from_parameters([1.0], [[0.0]], [1.0], 'spherical'), [[0.0], [1.0]]); " \
        "print('matplotlib.pyplot' in sys.modules)"  # fmt: skip
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.slow
def test_iris_example(tmp_path):
    script = Path(__file__).parent.parent / "examples" / "iris.py"
    picture = tmp_path / "iris.png"
    out = subprocess.run([sys.executable, script, picture], capture_output=True, text=True, check=True).stdout
    lines = out.splitlines()
    data = load_iris().data[:, :2]
    model = GaussianMixture(3, random_state=0).fit(data)
    assert lines[0] == f"mean log-likelihood {model.score(data):.6f} after {model.n_iter_} iterations"
    table = [line.split() for line in lines[4:7]]
    assert [row[0] for row in table] == ["setosa", "versicolor", "virginica"]
    counts = np.array([row[1:] for row in table], dtype=int)
    np.testing.assert_array_equal(counts.sum(axis=1), 50)
    np.testing.assert_array_equal(counts.sum(axis=0), np.bincount(model.predict(data)))
    assert counts[0].max() >= 48  # setosa stands apart
    assert picture.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
def test_old_faithful_example(tmp_path):
    script = Path(__file__).parent.parent / "examples" / "old_faithful.py"
    picture = tmp_path / "old_faithful.png"
    out = subprocess.run([sys.executable, script, picture], capture_output=True, text=True, check=True).stdout
    lines = out.splitlines()
    model, effective = some_of_six(load_faithful().data)
    assert lines[0] == f"evidence lower bound {model.lower_bound_:.3f} after {model.n_iter_} iterations"
    assert lines[1:3] == ["converged: yes", "effective components: 2 of 6"]
    found = np.array([line.split() for line in lines[5:7]], dtype=float)
    assert found[:, 0].tolist() == effective.tolist()
    np.testing.assert_allclose(found[:, 1], model.weights_[effective], rtol=1e-3)
    np.testing.assert_allclose(found[:, 2:], model.means_[effective], rtol=1e-3)
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_rows_that_cannot_be_drawn_are_refused(tmp_path):
    model = GaussianMixture(2, random_state=0).fit(load_faithful().data)
    with pytest.raises(
        TypeError, match=r"X must be an array or a data frame, .* got 'big\.parquet': fastgmm\.io\.read_table"
    ):
        plot_mixture(model, "big.parquet")


def test_the_best_of_a_selection_is_drawn():
    data = load_faithful().data
    selection = GaussianMixtureIC(1, 2, covariance_type="tied", random_state=0).fit(data)
    assert plot_mixture(selection, data).get_title() == plot_mixture(selection.best_estimator_, data).get_title()


def test_an_outlier_makes_no_endless_histogram():
    values = np.append(np.random.default_rng(0).normal(size=500), 1e12)[:, np.newaxis]
    axes = plot_mixture(GaussianMixture.from_parameters([1.0], [[0.0]], [1.0], "spherical"), values)
    assert sum(isinstance(patch, Rectangle) for patch in axes.patches) == 120


def test_columns_of_weights_and_wrong_names():
    pandas = pytest.importorskip("pandas")
    data = load_faithful().data
    frame = pandas.DataFrame(data, columns=["a", "b"]).assign(w=np.arange(272) % 3 + 1.0)
    model = GaussianMixture(2, random_state=0).fit(frame, sample_weight="w")
    bic = model.bic(frame, sample_weight="w")
    assert plot_mixture(model, frame, sample_weight="w").get_title().endswith(f"BIC {bic:.1f}")
    with pytest.raises(ValueError, match="feature_names must be 2 names, one for each column, got 1"):
        plot_mixture(model, frame[["a", "b"]], feature_names=["a"])


# --- uncertainty -------------------------------------------------------------------------------------------------


def test_uncertain_rows_are_larger_and_darker():
    data = load_iris().data
    model = GaussianMixture(3, random_state=0).fit(data)
    axes = plot_uncertainty(model, data)
    uncertainty, labels = model.uncertainty(data), model.predict(data)
    assert uncertainty.max() > 0.2
    assert axes.get_title() == f"3 components, full covariance, mean uncertainty {uncertainty.mean():.3g}"
    classified = plot_mixture(model, data).collections
    areas, opacities, certain = [], [], []
    for index, found, there in zip(range(3), axes.collections, classified, strict=False):
        own = np.flatnonzero(labels == index)
        own = own[np.argsort(uncertainty[own], kind="stable")]
        places = there.get_offsets()[np.argsort(uncertainty[labels == index], kind="stable")]
        np.testing.assert_array_equal(found.get_offsets(), places)
        assert {to_hex(shade).upper() for shade in found.get_facecolor()} == {PALETTE[index]}
        areas.append(found.get_sizes())
        opacities.append(found.get_facecolor()[:, 3])
        certain.append(uncertainty[own])
    certain, areas, opacities = map(np.concatenate, (certain, areas, opacities))
    order = np.argsort(certain, kind="stable")
    assert np.all(np.diff(areas[order]) >= 0)
    assert np.all(np.diff(opacities[order]) >= 0)
    assert areas.max() > 3 * areas.min()
    assert opacities.max() > opacities.min()
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts[3:5] == ["uncertainty 0", "uncertainty 0.25"]


@pytest.mark.parametrize("estimator", [GaussianMixture, BayesianGaussianMixture])
def test_uncertainty_of_one_column_is_a_curve(estimator):
    values = load_galaxies().data / 1000
    model = estimator(3, random_state=0, max_iter=500).fit(values)
    weight = np.arange(82) % 2 + 1.0
    axes = plot_uncertainty(model, values, sample_weight=weight, feature_names=["velocity"])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("velocity", "uncertainty")
    expected = 1 - model.predict_proba(values).max(axis=1)
    assert axes.get_title().endswith(f"uncertainty {np.average(expected, weights=weight):.3g}")
    points = np.concatenate([part.get_offsets() for part in axes.collections if len(part.get_offsets())])
    order = np.argsort(points[:, 0], kind="stable")
    np.testing.assert_allclose(points[order, 0], np.sort(values[:, 0]))
    np.testing.assert_allclose(points[order, 1], expected[np.argsort(values[:, 0], kind="stable")], atol=1e-12)
    (curve,) = axes.lines
    x, y = curve.get_data()
    np.testing.assert_allclose(y, 1 - model.predict_proba(x[:, np.newaxis]).max(axis=1), atol=1e-12)


def test_small_uncertainties_have_a_size_in_the_legend():
    model = GaussianMixture.from_parameters([0.5, 0.5], [[-2.0, 0.0], [2.0, 0.0]], [1.0, 1.0], "spherical")
    rows = np.array([[-2.0, 1.0], [0.5, 0.0], [2.0, 0.0]])
    axes = plot_uncertainty(model, rows)
    largest = model.uncertainty(rows).max()
    assert 0.1 < largest < 0.2
    *_, certain, uncertain = axes.get_legend().get_texts()
    assert (certain.get_text(), uncertain.get_text()) == ("uncertainty 0", f"uncertainty {largest:.2g}")
    drawn = max(part.get_sizes().max() for part in axes.collections[:2])
    assert axes.get_legend().legend_handles[-1].get_sizes() == pytest.approx(drawn)


# --- pairs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_pairs_show_the_marginals(family):
    iris = load_iris()
    model = GaussianMixture(3, covariance_type=family, random_state=0).fit(iris.data)
    chosen = [2, 0, 3]
    figure = plot_pairs(model, iris.data, chosen, feature_names=iris.feature_names)
    labels = model.predict(iris.data)
    panels = iter(figure.axes)
    for row, below in enumerate(chosen):
        for left in chosen[:row]:
            axes = next(panels)
            part = model.marginal([left, below])
            found = outlines(axes)
            for index, covariance in enumerate(matrices(part)):
                centre, shape = found[2 * index]
                np.testing.assert_allclose(centre, part.means_[index])
                np.testing.assert_allclose(shape, covariance, atol=1e-12)
                points = axes.collections[index].get_offsets()
                np.testing.assert_array_equal(points, iris.data[labels == index][:, [left, below]])
        axes = next(panels)
        *components, total = axes.lines
        assert len(components) == 3
        points, density = total.get_data()
        expected = model.marginal(below).score_samples(points[:, np.newaxis])
        np.testing.assert_allclose(np.log(density), expected, rtol=1e-6)
    assert next(panels, None) is None
    assert [axes.get_xlabel() for axes in figure.axes[3:]] == [iris.feature_names[column] for column in chosen]
    assert [axes.get_ylabel() for axes in figure.axes] == ["density", "sepal_length", "", "petal_width", "", ""]
    assert figure.texts[0].get_text() == f"3 components, {family} covariance, BIC {model.bic(iris.data):.1f}"
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == [*(f"{index}: {weight:.1%}" for index, weight in enumerate(model.weights_)), "mixture"]


def test_columns_of_pairs_by_name_in_a_figure_of_the_caller():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(load_diabetes().data, columns=["glucose", "insulin", "sspg"])
    model = GaussianMixture(3, random_state=0).fit(frame)
    figure = Figure()
    assert plot_pairs(model, frame, ["sspg", "glucose"], figure=figure, max_points=100) is figure
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "sspg", "glucose"]
    assert figure.axes[1].get_ylabel() == "glucose"
    assert sum(len(part.get_offsets()) for part in figure.axes[1].collections) == 100
    assert figure.legends[0].get_texts()[-1].get_text() == "100 of 145 rows drawn"
    assert len(plot_pairs(model, frame, "insulin").axes) == 1
    with pytest.raises(ValueError, match=r"columns must be numbers from 0 to 2, or names among glucose, .* got 'age'"):
        plot_pairs(model, frame, ["age", "sspg"])


def test_pairs_of_many_columns_are_refused_with_a_remedy():
    rows = np.random.default_rng(0).normal(size=(30, 9))
    model = GaussianMixture.from_parameters([1.0], np.zeros((1, 9)), np.ones((1, 9)), "diag")
    message = r"columns must be at most 8 columns to draw pairs of, X has 9: .* as in columns=\[0, 1\]"
    with pytest.raises(ValueError, match=message):
        plot_pairs(model, rows)
    with pytest.raises(ValueError, match="got 9: choose some"):
        plot_pairs(model, rows, range(9))
    assert len(plot_pairs(model, rows, [8, 1]).axes) == 3


def test_panels_of_a_column_have_its_range():
    data = load_iris().data
    figure = plot_pairs(GaussianMixture(3, random_state=0).fit(data), data)
    assert len(figure.axes) == 10
    first, below, _, lowest = (figure.axes[place] for place in (0, 1, 2, 6))
    assert first.get_xlim() == below.get_xlim() == lowest.get_xlim()
    assert lowest.get_ylim() == figure.axes[7].get_ylim()
    figure.draw_without_rendering()
    for axes in figure.axes:
        box = axes.get_tightbbox()
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0
        assert box.y1 <= figure.bbox.y1
        assert not figure.legends[0].get_window_extent().overlaps(box)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_components", "columns", "layout"),
    [(30, 2, "constrained"), (30, 2, None), (24, 3, "constrained"), (3, 2, "constrained"), (20, 1, "constrained")],
)
def test_legends_of_pairs_lie_beside_panels_and_titles(n_components, columns, layout):
    model, rows = circle(n_components, columns)
    given = Figure(figsize=(7, 5.5)) if layout is None else None
    # A long title.
    figure = plot_pairs(model, rows, figure=given, sample_weight=np.full(len(rows), 1e11 / 3))
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert legend.x1 <= figure.bbox.x1
    assert legend.y0 >= figure.bbox.y0
    for other in (*figure.axes, *figure.texts):
        assert not legend.overlaps(other.get_window_extent())


def test_titles_and_summaries_of_enormous_weights_are_short():
    model, rows = circle(3)
    weight = np.full(len(rows), 1e300)
    title = plot_pairs(model, rows, sample_weight=weight).texts[0].get_text()
    assert title == f"3 components, spherical covariance, BIC {model.bic(rows, sample_weight=weight):.10g}"
    assert "e+30" in title
    assert max(map(len, str(model.summary(rows, weight)).splitlines())) <= 100


def test_pairs_are_drawn_in_tiny_figures():
    figure = plot_pairs(*circle(9), figure=Figure(figsize=(1, 1)))
    assert all(axes.get_position().width > 0.1 for axes in figure.axes)


def test_legends_of_pairs_have_the_markers_of_panels():
    model, rows = circle(17)
    figure = plot_pairs(model, rows)
    *handles, _ = figure.legends[0].legend_handles
    assert [handle.get_marker() for handle in handles] == [*8 * "o", *8 * "^", "s"]
    assert [to_hex(handle.get_color()).upper() for handle in handles] == [*PALETTE, *PALETTE, PALETTE[0]]


def inside(figure, label, of=None):
    box, of = label.get_window_extent(), figure.bbox if of is None else of
    return of.x0 <= box.x0 and box.x1 <= of.x1 and of.y0 <= box.y0 and box.y1 <= of.y1


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["constrained", None])
@pytest.mark.parametrize("columns", [2, 6])
def test_names_of_columns_of_pairs_are_cut_to_their_panels(columns, layout):
    rows = np.random.default_rng(0).normal(size=(9, columns))
    model = GaussianMixture.from_parameters([1.0], np.zeros((1, columns)), np.ones((1, columns)), "diag")
    names = [f"{number}_{55 * 'name'}_{number}" for number in range(columns)]
    figure = plot_pairs(model, rows, feature_names=names, figure=Figure(layout=layout) if layout is None else None)
    figure.draw_without_rendering()
    lowest = figure.axes[-columns:]
    for number, axes in enumerate(lowest):
        assert axes.get_xlabel().startswith(f"{number}_")
        assert axes.get_xlabel().endswith(f"_{number}")
    boxes = [axes.xaxis.label.get_window_extent() for axes in lowest]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
    assert all(inside(figure, label) for axes in lowest for label in (axes.xaxis.label, axes.yaxis.label))
    assert sum(len(axes.get_xlabel()) for axes in lowest) > 30


@pytest.mark.parametrize("draw", [plot_mixture, plot_uncertainty])
@pytest.mark.parametrize("columns", [1, 2, 3])
def test_names_in_labels_are_cut_to_the_axes(draw, columns):
    model, rows = circle(3, columns)
    names = [f"{number}_{55 * 'name'}_{number}" for number in range(columns)]
    axes = draw(model, rows, feature_names=names)
    axes.figure.draw_without_rendering()
    assert inside(axes.figure, axes.xaxis.label)
    assert inside(axes.figure, axes.yaxis.label)
    label = axes.get_xlabel()
    assert "_name" in label
    assert "name_" in label
    if columns == 3:
        assert "% of the variance):\n" in label
        assert label.endswith(" + ...")
    short = draw(model, rows, feature_names=["petal_length", "petal_length_2", "petal_length_3"][:columns])
    assert "petal_length" in short.get_xlabel()


# --- the trace of a fit ------------------------------------------------------------------------------------------


def test_the_trace_is_the_bounds_and_the_ends_of_other_starts():
    data = load_iris().data
    model = GaussianMixture(3, n_init=6, init_params="random_from_data", random_state=0, max_iter=500).fit(data)
    axes = plot_trace(model)
    best, *others = axes.lines
    np.testing.assert_array_equal(best.get_xdata(), np.arange(1, model.n_iter_ + 1))
    np.testing.assert_array_equal(best.get_ydata(), model.lower_bounds_)
    drawn = sorted(zip(*np.concatenate([line.get_data() for line in others], axis=1), strict=True))
    ends = sorted((each.n_iter, each.bound) for each in model.restarts_)
    ends.remove((model.n_iter_, model.lower_bound_))
    assert drawn == ends
    assert len(drawn) == 5
    assert axes.get_title() == (
        f"Converged after {model.n_iter_} iterations, with a lower bound of {model.lower_bound_:.6g}"
    )
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("iteration", "mean log-likelihood")


def test_starts_that_came_to_no_end_are_counted():
    model = GaussianMixture(2, random_state=0).fit(load_faithful().data)
    good, *_ = model.restarts_
    model.restarts_ = [
        good,
        Restart(good.bound - 1.0, 7, "converged", spurious=1),
        Restart(np.nan, 2, "failed"),
        Restart(-1e9, 2, "dropped"),
        Restart(-1e9, 3, "dropped"),
    ]
    axes = plot_trace(model)
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["best start", "spurious", "2 starts dropped", "1 start failed"]
    hollow = axes.lines[1]
    assert (hollow.get_xdata(), hollow.get_ydata()) == ([7], [good.bound - 1.0])
    assert hollow.get_markerfacecolor() == "white"
    assert axes.get_ylim()[0] > good.bound - 2.0


def test_traces_of_other_fits():
    data = load_faithful().data
    bayes = BayesianGaussianMixture(2, random_state=0).fit(data)
    assert plot_trace(bayes).get_ylabel() == "evidence bound"
    learned = GaussianMixture(2, random_state=0)
    for batch in np.array_split(data, 3):
        learned.partial_fit(batch)
    (line,) = plot_trace(learned).lines
    np.testing.assert_array_equal(line.get_ydata(), learned.lower_bounds_)
    fitted = GaussianMixture(2, n_init=4, init_params="random_from_data", random_state=0).fit(data)
    n_iter, bound = fitted.n_iter_, fitted.lower_bound_
    axes = plot_trace(fitted.update(fitted.statistics(data)))
    (line,) = axes.lines
    # The bound of the mixture that the update began with, where the fit had ended; starts are not of its making.
    assert (line.get_xdata().tolist(), axes.get_legend()) == ([n_iter], None)
    assert line.get_ydata() == pytest.approx([bound])
    assert axes.get_title().startswith("Updated by statistics")
    with pytest.raises(ValueError, match=r"but it has none: its stop_reason_ is 'given'\. Call fit"):
        plot_trace(GaussianMixture.from_parameters([1.0], [[0.0]], [1.0], "spherical"))
    with pytest.raises(ValueError, match="not fitted"):
        plot_trace(GaussianMixture())
