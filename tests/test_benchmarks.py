"""The benchmarks run, and both sides of a comparison do the same work: at a scale that measures nothing."""

import importlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("sklearn")

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    """Import a module of the benchmarks by name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def test_both_sides_of_every_workload_end_at_the_same_likelihood(load):
    common, versus = load("common"), load("versus_sklearn")
    for workload in versus.WORKLOADS:
        # Few components: each must keep more rows than features.
        problem = replace(workload, n_components=4).build(n_samples=2000)
        assert problem.X.shape == (2000, workload.n_features)
        assert problem.X.dtype == workload.dtype
        models = {side: common.fit(side, problem, versus.MANY, workload.method)[0] for side in common.SIDES}
        assert {model.n_iter_ for model in models.values()} == {versus.MANY}
        if not workload.same_model:
            continue
        versus.check_agreement(workload, {side: model.score(problem.X) for side, model in models.items()})


@pytest.mark.parametrize("other", [-2.0 * (1 + 1e-8), float("nan")])
def test_a_different_likelihood_stops_the_comparison(load, other):
    versus = load("versus_sklearn")
    with pytest.raises(RuntimeError, match=r"full \(100k, 64, 32\): mean log-likelihoods"):
        versus.check_agreement(versus.WORKLOADS[0], {"fastgmm": -2.0, "1 BLAS thread": other})


def test_comparison_with_scikit_learn_prints_a_row_and_writes_json(load, tmp_path, capsys):
    path = tmp_path / "out.json"
    load("versus_sklearn").main(["--quick", "--repeats", "1", "--only", "spherical", "--json", str(path)])
    assert "| spherical (200k, 16, 32) | " in capsys.readouterr().out
    written = json.loads(path.read_text())
    assert written["machine"]["usable CPUs"] >= 1
    (result,) = written["results"]
    assert {len(rounds) for rounds in result["milliseconds"].values()} == {1}
    assert "fastgmm" in result["milliseconds"]
    assert result["best_variant"] in set(result["milliseconds"]) - {"fastgmm"}


def test_unknown_workload_is_refused(load, capsys):
    with pytest.raises(SystemExit):
        load("versus_sklearn").main(["--only", "circular"])
    assert "no workload's name contains 'circular'" in capsys.readouterr().err


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


def test_scripts_import(load):
    for name in ("cold_start", "memory", "vb_versus_em"):
        assert callable(load(name).main)


def test_asv_suite_finds_its_modules(load):
    settings = json.loads((BENCHMARKS / "asv.conf.json").read_text())
    for path in (BENCHMARKS / settings["benchmark_dir"]).glob("*.py"):
        load(f"{settings['benchmark_dir']}.{path.stem}")


@pytest.mark.parametrize(
    ("module", "name"), [("passes", "Pass"), ("passes", "PassFloat32"), ("fits", "Estimator"), ("fits", "SmallFit")]
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
