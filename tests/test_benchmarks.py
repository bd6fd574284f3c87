"""The benchmarks run, and both sides of a comparison do the same work: at a scale that measures nothing."""

import ast
import contextlib
import importlib
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from fastgmm.families import STRUCTURES

pytest.importorskip("sklearn")

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    """Import a module of the benchmarks by name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.fixture
def small_versus(load, monkeypatch):
    """The comparison with one small workload, and without the seconds that measuring the machine takes."""
    versus = load("versus")
    monkeypatch.setattr(versus, "WORKLOADS", [load("common").Workload("spherical", 2_000, 16, 8)])
    monkeypatch.setattr(versus, "run_child", lambda task: LIMITS)
    return versus


RATES = {
    "threads": 2,
    "peak": {"float64": 200e9, "float32": 400e9},
    "exponential": {"float64": 0.25e-9, "float32": 0.125e-9},
    "read": 50e9,
    "triad": 40e9,
}
LIMITS = {"one": RATES, "all": RATES}


def test_both_sides_of_every_workload_end_at_the_same_likelihood(load):
    common, versus = load("common"), load("versus")
    for workload in versus.WORKLOADS:
        # Few components: each must keep more rows than features.
        problem = replace(workload, n_components=4).build(n_samples=2000)
        assert problem.X.shape == (2000, workload.n_features)
        assert problem.X.dtype == workload.dtype
        models = {side: common.fit(side, problem, common.MANY, workload.method)[0] for side in common.SIDES}
        assert {model.n_iter_ for model in models.values()} == {common.MANY}
        if not workload.same_model:
            continue
        scores = {
            side: common.mean_log_likelihood(problem, model.weights_, model.means_, model.covariances_)
            for side, model in models.items()
        }
        versus.check_agreement(workload, scores)


@pytest.mark.parametrize("other", [-2.0 * (1 + 1e-8), float("nan")])
def test_a_different_likelihood_stops_the_comparison(load, other):
    versus = load("versus")
    with pytest.raises(RuntimeError, match=r"full \(200k, 16, 16\): mean log-likelihoods"):
        versus.check_agreement(versus.WORKLOADS[0], {"fastgmm": -2.0, "1 BLAS thread": other})


PEER = """
ABOUT = dict(name="start", version="1.0", families=("spherical",), same_start={same_start})

def fit(problem, n_iterations, method):
    print("libraries print what they like")
    return 1e-3 * n_iterations, (problem.weights, problem.means, problem.covariances)
"""


@pytest.fixture
def start_as_peer(small_versus, tmp_path, monkeypatch):
    """Make a peer that takes a millisecond for an iteration and returns its start."""

    def make(same_start):
        (tmp_path / "start.py").write_text(PEER.format(same_start=same_start))
        for module in (small_versus, importlib.import_module("common")):
            monkeypatch.setattr(module, "PEERS", tmp_path)
        return ["--peer", f"start={sys.executable}", "--repeats", "1"]

    return make


def test_a_peer_that_fails_is_named_and_left_out(small_versus, start_as_peer, tmp_path, capsys):
    options = start_as_peer(same_start=True)
    failing = (
        (tmp_path / "start.py").read_text().replace("    return", "    raise ArithmeticError('no start')\n    return")
    )
    (tmp_path / "start.py").write_text(failing)
    small_versus.main([*options, "--only", "spherical"])
    printed = capsys.readouterr().out
    assert "| failed |" in printed
    assert "start failed on spherical (2k, 16, 8): ArithmeticError: no start" in printed


def test_comparison_prints_a_row_and_writes_json(small_versus, start_as_peer, tmp_path, capsys):
    path = tmp_path / "out.json"
    small_versus.main([*start_as_peer(same_start=False), "--only", "spherical", "--json", str(path)])
    printed = capsys.readouterr().out
    assert "| workload (N, D, K) | fastgmm | scikit-learn | start |" in printed
    assert "| spherical (2k, 16, 8) | " in printed
    written = json.loads(path.read_text())
    assert written["machine"]["usable CPUs"] >= 1
    assert written["machine"]["start"] == "1.0"
    assert written["limits"] == LIMITS
    (result,) = written["results"]
    assert {len(times) for variants in result["milliseconds"].values() for times in variants.values()} == {1}
    assert result["milliseconds"]["start"] == {"": [pytest.approx(1.0)]}
    assert result["operations"] == 6 * 2_000 * 16 * 8
    assert "start" not in result["mean_log_likelihood"]


def test_a_peer_that_ends_elsewhere_stops_the_comparison(small_versus, start_as_peer):
    with pytest.raises(RuntimeError, match=r"spherical .* differ: .*'start': "):
        small_versus.main(start_as_peer(same_start=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "circular"], "no workload's name contains 'circular'"),
        (["--peer", "nobody=python"], "expected NAME=PYTHON with a NAME of"),
        (["--peer", "onedal"], "got 'onedal'"),
    ],
)
def test_unknown_workloads_and_peers_are_refused(load, capsys, arguments, message):
    with pytest.raises(SystemExit):
        load("versus").main(arguments)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted((BENCHMARKS / "peers").glob("*.py")), ids=lambda path: path.stem)
def test_peers_need_nothing_of_ours(path):
    """They run in environments where fastgmm is not installed."""
    tree = ast.parse(path.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported
    assert not imported & {"fastgmm", "common", "child", "limits"}


def test_starting_covariances_are_the_inverse_precisions(load):
    common = load("common")
    for family in STRUCTURES:
        problem = common.Workload(family, 10, 3, 2).build()
        assert_allclose(STRUCTURES[family].matrices(problem.covariances, 2, 3), [4.0 * np.eye(3)] * 2)


def test_work_is_counted_by_family_and_bounded_by_the_slower_of_memory_and_arithmetic(load):
    limits = load("limits")
    assert set(limits.OPERATIONS) == set(STRUCTURES)
    counted = {family: limits.work(family, 10, 3, 2, "float64").operations for family in STRUCTURES}
    assert counted == {"full": 480, "tied": 480, "diag": 480, "spherical": 360}
    work = limits.work("full", 1000, 3, 2, "float32")
    assert (work.exponentials, work.n_bytes, work.intensity) == (2000, 12_000, 4.0)
    rates = limits.Rates(**RATES)
    assert rates.least_seconds(work) == pytest.approx(48_000 / 400e9 + 2000 * 0.125e-9)
    # One row of very many features and one component: nothing but reading.
    assert rates.least_seconds(limits.work("diag", 1, 10**6, 1, "float64")) == pytest.approx(8e6 / 50e9)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_peak_is_that_of_as_many_multiply_adds_as_it_counts(load, dtype):
    limits = load("limits")
    # Chain c starts at c, and a step makes it (c + 1) / 2.
    starts = np.arange(limits._CHAINS)
    assert limits._run_chains(1, dtype(0.5), dtype(0.5)) == ((starts + 1) / 2).sum()
    assert limits._run_chains(2, dtype(0.5), dtype(0.5)) == ((starts + 3) / 4).sum()


def test_limits_of_one_thread_and_of_all_are_measured(load, monkeypatch):
    limits = load("limits")
    for name, value in (("_ARRAY_BYTES", 1 << 16), ("_CHAIN_STEPS", 100), ("_EXPONENTIAL_ROUNDS", 2)):
        monkeypatch.setattr(limits, name, value)
    measured = limits.measure()
    assert measured["one"]["threads"] == 1
    for rates in (limits.Rates(**measured[name]) for name in ("one", "all")):
        assert rates.bandwidth >= rates.read > 0
        assert set(rates.peak) == set(rates.exponential) == {"float64", "float32"}
        assert min(rates.peak.values()) > 0
        assert min(rates.exponential.values()) > 0


def test_roofline_measures_and_draws(load, monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    roofline, workload = load("roofline"), load("common").Workload
    workloads = [workload("spherical", 2000, 16, 8), workload("spherical", 20_000, 16, 8)]
    monkeypatch.setattr(roofline, "WORKLOADS", workloads)
    monkeypatch.setattr(roofline, "run_child", lambda task: LIMITS)
    # The difference of two fits as short as these may be anything.
    monkeypatch.setattr(roofline.Worker, "milliseconds", lambda worker, method, repeats: 1.536)
    json_path, picture = tmp_path / "out.json", tmp_path / "out.png"
    roofline.main(["--repeats", "1", "--json", str(json_path), "--plot", str(picture)])
    printed = capsys.readouterr().out
    assert "| multiply-adds, float64, GFLOP/s | 200 | 200 |" in printed
    assert "| spherical (20k, 16, 8) | 6.0 | 1.54 | 10 | 5% | 0.12 | 8% |" in printed
    (_, result) = json.loads(json_path.read_text())["results"]
    # 6 N K D operations; an exponential for each row and component.
    assert result["per_second"] == pytest.approx(10e9)
    assert result["share_of_peak"] == pytest.approx(10 / 200)
    assert result["share_of_limit"] == pytest.approx((15.36e6 / 200e9 + 160_000 * 0.25e-9) / 1.536e-3)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_table_of_the_readme_comes_from_a_run(load, tmp_path):
    readme = load("readme")
    run = {
        "machine": {"cpu": "Abacus", "usable CPUs": 2, "numba": "0.68"},
        "limits": LIMITS,
        "repeats": 3,
        "results": [
            {
                "name": "full (1k, 2, 3)",
                "dtype": "float64",
                "operations": 100_000_000,
                "milliseconds": {
                    "fastgmm": {"": [9.0, 1.0, 2.0]},
                    "scikit-learn": {"1 BLAS thread": [30.0, 20.0, 25.0], "2 BLAS threads": [26.0, 26.0, 26.0]},
                    "oneDAL": {"": [3.0, 3.0, 3.0]},
                },
            },
            {
                "name": "tied (1k, 2, 3) float32",
                "dtype": "float32",
                "operations": 1_000_000_000,
                "milliseconds": {"fastgmm": {"": [10.0, 10.0, 10.0]}, "scikit-learn": {"1 BLAS thread": [1234.5]}},
            },
        ],
    }
    (tmp_path / "run.json").write_text(json.dumps(run))
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- fit -->\n<!-- end -->\n<!-- speed -->\nold\n<!-- end -->\nafter\n")
    readme.main([str(tmp_path / "run.json"), "--readme", str(page)])
    assert page.read_text() == (
        "before\n<!-- fit -->\n<!-- end -->\n<!-- speed -->\n"
        "| workload (N, D, K) | fastgmm, ms | GFLOP/s | of peak | scikit-learn, ms | ratio | oneDAL, ms | ratio |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| full (1k, 2, 3) | 2.00 | 50 | 25 % | 25.0 | 12.5 | 3.00 | 1.5 |\n"
        "| tied (1k, 2, 3) float32 | 10.0 | 100 | 25 % | 1234 | 123.5 |  |  |\n"
        "\n"
        "Milliseconds per iteration, medians of 3 rounds on 2 CPUs (Abacus). Measured in the same run: 200 (float64) "
        "and 400 (float32) GFLOP/s of multiply-adds, 50 GB/s from memory. numba 0.68.\n"
        "<!-- end -->\nafter\n"
    )
    page.write_text("no table\n")
    with pytest.raises(ValueError, match="speed"):
        readme.main([str(tmp_path / "run.json"), "--readme", str(page)])


def test_the_readme_has_a_place_for_the_table(load):
    text = (BENCHMARKS.parent / "README.md").read_text()
    new = load("readme").rewritten(text, "| new |\n")
    assert "## Speed" in new
    assert "## Learn more" in new
    assert new.count("| workload (N, D, K) |") == text.count("| workload (N, D, K) |") - 1


def test_library_settings_do_not_reach_measured_processes(load, monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("NUMBA_NUM_THREADS", "1")
    monkeypatch.setenv("NUMBA_CACHE_DIR", "kept")
    environment = load("common").child_environment(OPENBLAS_NUM_THREADS="2")
    assert "OPENBLAS_CORETYPE" not in environment
    assert "NUMBA_NUM_THREADS" not in environment
    assert environment["NUMBA_CACHE_DIR"] == "kept"
    assert environment["OPENBLAS_NUM_THREADS"] == "2"


def test_memory_and_cold_start_are_measured_in_fresh_processes(load, tmp_path):
    pytest.importorskip("resource")
    common = load("common")
    megabytes = common.fit_memory("fastgmm", common.MEMORY_WORKLOAD.build(n_samples=30_000))
    assert megabytes["before"] > 0
    assert megabytes["extra"] >= 0
    seconds = common.cold_start("scikit-learn", str(tmp_path))
    assert 0 < seconds["package"] < seconds["estimator"] < seconds["fit"] < seconds["process"]


def test_a_file_and_an_array_are_fitted_to_the_same_bits(load, tmp_path, monkeypatch, capsys):
    module, child = load("out_of_core"), load("child")
    monkeypatch.setattr(module, "_WARM_ROWS", 1000)
    monkeypatch.setattr(module, "run_child", lambda task, *arguments: getattr(child, task)(*arguments))
    for kind in ("npy", "parquet"):
        module.main(["--rows", "3000", "--iterations", "2", "--kind", kind, "--folder", str(tmp_path)])
        assert [line.split()[1] for line in capsys.readouterr().out.splitlines()[-4:-2]] == ["full", "diag"]
    monkeypatch.setattr(module, "run_child", lambda task, where, *options: {"bound": float(where == "file")})
    with pytest.raises(RuntimeError, match="should be the same bits"):
        module.measure(tmp_path, tmp_path, "full", 2)


def test_partitions_end_with_the_bound_of_the_rows_in_memory(load, monkeypatch, capsys):
    pytest.importorskip("distributed")
    module = load("dask_fits")
    monkeypatch.setattr(module, "cluster", lambda n_workers, n_threads: contextlib.nullcontext())
    module.main(
        ["--rows", "2000", "--features", "2", "--components", "3", "--partitions", "2", "3", "--iterations", "2"]
    )
    rows = [line.split("|")[1:3] for line in capsys.readouterr().out.splitlines()[-9:]]
    assert [partitions.strip() for _, partitions in rows] == ["", *["2", "3"] * 4]
    monkeypatch.setattr(module, "iteration", lambda data, *_: (1.0, float(isinstance(data, np.ndarray))))
    with pytest.raises(RuntimeError, match=r"threads of this process: the bound is 0\.0, in memory 1\.0"):
        module.main(["--rows", "2000"])


def test_both_sides_of_k_means_do_the_same(load):
    kmeans, workload = load("kmeans"), load("common").Workload("diag", 3000, 4, 5)
    problem = workload.build()
    inertias = {}
    for side, tasks in kmeans.TASKS.items():
        for task in tasks:
            seconds, inertia = kmeans.run(side, task, problem.X, problem.means, 4)
            assert seconds > 0
            inertias[task] = inertia
    assert inertias.pop("k-means++") == 0
    assert inertias["k-means"] > 0
    assert_allclose(list(inertias.values()), inertias["k-means"], rtol=1e-9)


def test_scripts_import(load):
    for name in ("cold_start", "kmeans", "memory", "vb_versus_em"):
        assert callable(load(name).main)


def test_asv_suite_finds_its_modules(load):
    settings = json.loads((BENCHMARKS / "asv.conf.json").read_text())
    for path in (BENCHMARKS / settings["benchmark_dir"]).glob("*.py"):
        load(f"{settings['benchmark_dir']}.{path.stem}")


@pytest.mark.parametrize(
    ("module", "name"),
    [("passes", "Pass"), ("passes", "PassFloat32"), ("fits", "Fit"), ("fits", "SmallFit"), ("fits", "Predict")],
)
def test_asv_timings_run(load, module, name):
    suite_class = getattr(load(f"suite.{module}"), name)
    # The first value of each parameter; with one parameter, asv takes its values themselves.
    values = suite_class.params
    first = [values[0]] if len(suite_class.param_names) == 1 else [choices[0] for choices in values]
    benchmark = suite_class()
    benchmark.setup(*first)
    timings = [method for method in dir(benchmark) if method.startswith("time_")]
    assert timings
    for method in timings:
        getattr(benchmark, method)(*first)


def test_asv_tracks_the_share_of_the_limit(load):
    share = load("suite.passes").Limit().track_share_of_limit(RATES, "spherical", (20_000, 16, 8), "float64")
    assert share > 0


def test_asv_tracks_the_bytes_of_a_row(load, monkeypatch):
    memory = load("suite.memory")
    # A fit that keeps five numbers for each row, and a megabyte whatever their number.
    monkeypatch.setattr(memory, "fit_memory", lambda side, problem: {"extra": 1.0 + 40e-6 * len(problem.X)})
    assert memory.BytesPerRow().track_bytes_per_row("spherical") == pytest.approx(40.0)


def test_small_fits_and_predictions_of_both_sides(load, monkeypatch, capsys):
    latency = load("latency")
    monkeypatch.setattr(latency, "STRUCTURES", ["spherical"])
    monkeypatch.setattr(latency, "SHAPES", {"predictions": ((2, 3),), "fits": ((2, 3),)})
    monkeypatch.setattr(latency, "_ROUND", 0.0)
    latency.main(["--quick"])
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if "spherical" in line]
    assert [row[0].strip("| ") for row in rows] == [
        *(f"spherical (2, 3) {method}" for method in latency.METHODS),
        *(f"{method} spherical (2, 3) {start}" for method in ("em", "vb") for start in ("given", "k-means")),
    ]
    for row in rows:
        ratios = [float(cell.split("(")[1].strip(") ")) for cell in row[1:-1]]
        # Of a call that the machine held up, a ratio may be shown as 0.
        assert float(row[-1].strip(" |")) == min(ratios) >= 0


def test_quality_compares_the_ends_of_fits(load, tmp_path, capsys):
    page, picture = tmp_path / "page.md", tmp_path / "plot.png"
    page.write_text("before\n<!-- quality -->\nold\n<!-- end -->\nafter\n")
    quality = load("quality")
    quality.main(
        ["--only", "acidity", "--seeds", "2", "--sides", "scikit-learn,kmeans", "--json", str(tmp_path / "run.json")]
    )
    printed = capsys.readouterr().out
    assert printed.count("| acidity full 2 | ") == 3
    quality.main(["--read", str(tmp_path / "run.json"), "--page", str(page), "--plot", str(picture)])
    before, _, after = page.read_text().partition("<!-- quality -->\n")
    assert before == "before\n"
    assert after.endswith("<!-- end -->\nafter\n")
    assert "old" not in after
    assert picture.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit):
        quality.main(["--only", "nothing"])


def test_quality_tells_optima_apart(load):
    """The best optimum is that of sound fits alone, whatever a spurious one scores."""
    quality = load("quality")
    same = {"case": "a full 2", "seconds": 0.001, "rows": 50.0, "width": 0.5, "n_features": 2}
    runs = [
        quality.Run(side="good", n_init=1, seed=0, score=-1.01, optimum=-1.0, **same),
        quality.Run(side="good", n_init=1, seed=1, score=-1.03, optimum=-1.00005, **same),
        quality.Run(side="bad", n_init=1, seed=0, score=-2.0, optimum=-1.5, **same),
        quality.Run(side="bad", n_init=1, seed=1, score=1.0, optimum=2.0, **(same | {"width": 0.001})),
        quality.Run(side="none", n_init=1, seed=0, score=np.nan, optimum=np.nan, **(same | {"width": np.nan})),
    ]
    assert quality.best_runs(runs) == {"a full 2": runs[0]}
    assert quality.best_table(runs)[2:] == ["| a full 2 | -1.0000 | 50 rows | 50.0 % |"]
    assert quality.table(runs, 1) == [
        "| data, family, K | good | bad | none |",
        "| --- | ---: | ---: | ---: |",
        "| a full 2 | 0.020 (100 %) | 1.000 (0 %) 1 spurious | fails |",
    ]
    assert_allclose(quality.shares_within(runs, "good", 1, np.array([0.005, 0.02, 0.1])), [0.0, 0.5, 1.0])
    assert_allclose(quality.shares_within(runs, "bad", 1, np.array([0.1, 1.0])), [0.0, 0.5])
    assert_allclose(quality.shares_within(runs, "none", 1, np.array([0.1])), [0.0])


def test_a_mixture_overlaps_as_much_as_its_name_says(load):
    """The share that the mixture itself gets wrong, of other rows than those it was counted on."""
    quality = load("quality")
    for error in (0.02, 0.1):
        weights, means, factors = quality.overlapping_mixture(error)
        rng = np.random.default_rng(9)
        labels = rng.choice(len(weights), 20_000, p=weights)
        X = means[labels] + np.einsum("nij,nj->ni", factors[labels], rng.normal(size=(20_000, means.shape[1])))
        from fastgmm import GaussianMixture

        model = GaussianMixture.from_parameters(weights, means, factors @ np.swapaxes(factors, 1, 2))
        assert np.mean(model.predict(X) != labels) == pytest.approx(error, rel=0.15)


def test_many_fits_beside_loops(load, monkeypatch, capsys):
    many, workload = load("many"), load("common").Workload
    monkeypatch.setattr(many, "WORKLOADS", [workload("full", 60, 2, 3)])
    monkeypatch.setattr(many, "DEFAULTS", [(30, 1, 2, 40)])
    monkeypatch.setattr(many, "PROBLEMS", 30)
    monkeypatch.setattr(many, "_OTHERS", 2)
    monkeypatch.setattr(many, "sklearn_variants", lambda: {"": {}})
    many.main(["--repeats", "1"])
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    given = next(row for row in rows if row[0] == "full (60, 2, 3)")
    default = next(row for row in rows if row[0] == "(30, 1, 2)")
    for ours, theirs in ((given[1].split()[0], given[2]), (default[3], default[4])):
        other, ratio = theirs.strip(")").split(" (")
        assert float(other) / float(ours) == pytest.approx(float(ratio), rel=0.1, abs=1.0)
    assert default[1] == "40"


def test_time_to_answer_runs_until_the_target_is_reached(load, monkeypatch, capsys):
    answers, workload = load("time_to_answer"), load("common").Workload
    monkeypatch.setattr(answers, "WORKLOADS", [workload("full", 400, 2, 3)])
    monkeypatch.setattr(answers, "sklearn_variants", lambda: {"one": {}})
    answers.main(["--repeats", "1"])
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| full (400, 2, 3) |")]
    _, theirs, reached, ratio, alone, above, starts = row.strip("| ").split(" | ")
    assert "one" in theirs
    assert 0 < float(reached.split()[0]) < np.inf
    assert float(alone) > 0
    assert abs(float(above.split()[0])) < 0.5
    assert float(ratio) > 0
    assert 1 <= int(starts) <= 20


@pytest.mark.filterwarnings("ignore:.*did not converge")
def test_a_target_out_of_reach_is_said_to_be(load):
    child = load("child")
    from fastgmm import GaussianMixture

    X = np.random.default_rng(0).normal(size=(50, 2))
    reply = child._reached(GaussianMixture, {"n_components": 2}, 0, X, np.inf)
    assert reply == {"reached": np.inf, "starts": child._MOST_STARTS}
    reply = child._reached(GaussianMixture, {"n_components": 2}, 0, X, -100.0)
    assert reply["starts"] == 1
    assert 0 < reply["reached"] < np.inf


@pytest.mark.slow
def test_selection_beside_a_loop(load, capsys):
    selection = load("selection")
    selection.main(["--quick"])
    out = capsys.readouterr().out
    assert re.search(r"^\| 500 x 8, K = 1..3 \| [\d.]+ \| [\d.]+ \| [\d.]+ \(.*\) \| \d+ \| none \|$", out, re.M)
    assert re.search(r"^\| fastgmm \| 1 \| [\d.]+ \|$", out, re.M)
    X, n_components = selection.mixture(3)
    assert len(X) == 150 * n_components


def test_optima_counts_the_seeds_that_find_the_published_one(load, monkeypatch, capsys):
    optima = load("optima")
    options = ["--seeds", "2", "--n-init", "2", "--only", "faithful full 2"]
    optima.main(options)
    assert "| faithful full 2 | -1130.263960 | -1130.263960 | 2 of 2 |" in capsys.readouterr().out
    monkeypatch.setattr(optima, "reached", lambda cell, n_init, seed: cell["log_likelihood"] - 0.02 * seed)
    optima.main(options)
    assert "| -1130.283960 | 1 of 2 |" in capsys.readouterr().out


def test_one_pass_of_batches_beside_a_fit(load, monkeypatch, capsys):
    online = load("online")
    monkeypatch.setattr(online, "N_COMPONENTS", 3)
    monkeypatch.setattr(online, "N_FEATURES", 2)
    online.main(["--rows", "6000", "--batch", "500", "--seeds", "2"])
    lines = capsys.readouterr().out.splitlines()
    rows = [
        [float(cell) for cell in line.strip("| ").split(" | ")] for line in lines if line.startswith(("| 0 |", "| 1 |"))
    ]
    assert [row[0] for row in rows] == [0.0, 1.0]
    for _, truth, fit, batches, gap, *_ in rows:
        assert gap == pytest.approx(100.0 * (fit - batches) / abs(fit), abs=0.01)
        assert truth == pytest.approx(fit, rel=0.02)
    assert lines[-1] == f"Largest gap: {max(row[4] for row in rows):.4f} %"
