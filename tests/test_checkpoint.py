"""Checkpoints: whichever file a fit was killed after, it ends with the same bits; other files are refused."""

import contextlib
import errno
import hashlib
import importlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from conftest import slow

from fastgmm import BayesianGaussianMixture, GaussianMixture
from fastgmm.exceptions import CollapsedComponentError, ConvergenceWarning
from fastgmm.fitting import checkpoint
from fastgmm.fitting.checkpoint import Checkpoint, CheckpointError
from fastgmm.fitting.loop import fit_steps
from fastgmm.io import load_model, save_model
from fastgmm.passes import single
from fastgmm.sources import BatchRows, open_rows

ESTIMATORS = pytest.mark.parametrize("estimator", [GaussianMixture, BayesianGaussianMixture])


def made(n_rows=240, dtype=np.float64):
    rng = np.random.default_rng(5)
    third = n_rows // 3
    return np.concatenate(
        [
            rng.normal(size=(third, 2)),
            [1.6, 0.4] + rng.normal(size=(third, 2)) * [0.5, 1.4],
            [-1.0, 2.0] + 0.8 * rng.normal(size=(n_rows - 2 * third, 2)),
        ]
    ).astype(dtype)


@pytest.fixture(scope="module")
def rows():
    return made()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit.checkpoint"


@pytest.fixture
def written(monkeypatch, path):
    """The content of the checkpoint after every write: what a process that is killed at some time leaves behind."""
    contents = []
    replacing = checkpoint.replacing

    @contextlib.contextmanager
    def noting(target):
        with replacing(target) as stream:
            yield stream
        contents.append(path.read_bytes())

    monkeypatch.setattr(checkpoint, "replacing", noting)
    # That data reach the disk is what nothing here can see, and takes time.
    monkeypatch.setattr(checkpoint.os, "fsync", lambda number: None)
    return contents


@pytest.fixture
def reached(monkeypatch):
    """One entry for every iteration of a fit with a checkpoint, and one for every start."""
    calls = []
    hear = Checkpoint.reached
    monkeypatch.setattr(Checkpoint, "reached", lambda self: (calls.append(self), hear(self))[1])
    return calls


@pytest.fixture
def resumes(written, reached, path):
    """Fit without and with a checkpoint, and from what was written on the way; return how many files there were."""

    def resumes(make, X, stride=1, **options):
        def kept(seconds):
            return bits(fit(make().set_params(checkpoint=path, checkpoint_interval=seconds), X, **options))

        whole = bits(fit(make(), X, **options))
        assert kept(seconds=0) == whole
        contents, count = list(written), len(reached)
        for number, content in enumerate(contents):
            if number % stride and number != len(contents) - 1:
                continue
            path.write_bytes(content)
            reached.clear()
            assert kept(seconds=1e6) == whole
            # What was done is not done again: another iteration stands behind each file.
            assert len(reached) < count - number
        return len(contents)

    return resumes


def bits(model):
    """Return all that a fit has set, with its types, in a form that compares exactly."""
    fitted = {name: value for name, value in vars(model).items() if name not in model.get_params()}
    return {name: (repr(value), getattr(value, "dtype", None), _bytes(value)) for name, value in fitted.items()}


def _bytes(value):
    return np.asarray(value).tobytes() if isinstance(value, np.ndarray | float) else b""


def fit(model, X, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, **options)


# --- the same bits -------------------------------------------------------------------------------------------------


@ESTIMATORS
@pytest.mark.parametrize("accelerate", ["anderson", *slow(None, "squarem")])
def test_a_fit_goes_on_with_the_same_bits_from_any_of_its_iterations(estimator, accelerate, rows, resumes):
    def make():
        return estimator(3, tol=1e-4, max_iter=300, accelerate=accelerate, stopping="aitken", random_state=1)

    count = resumes(make, rows)
    # One before the first iteration, one after each; and none at the end, for nothing is new.
    assert count == len(fit(make(), rows).lower_bounds_) + 1


@pytest.mark.parametrize("covariance_type", ["tied", "diag", "spherical"])
@ESTIMATORS
def test_every_family(estimator, covariance_type, rows, resumes):
    resumes(
        lambda: estimator(2, covariance_type=covariance_type, accelerate="squarem", max_iter=30, random_state=0),
        rows,
        stride=3,
    )


@pytest.mark.slow
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("race", [False, True])
def test_several_starts_in_turn_and_on_threads(race, n_threads, rows, resumes):
    def make():
        return GaussianMixture(
            3, n_init=3, init_params="random", race=race, tol=1e-5, max_iter=60, random_state=3, n_threads=n_threads
        )

    # On one thread every iteration is written; on two, one start may find the other writing.
    count = resumes(make, rows, stride=13)
    if n_threads == 1:
        assert count == sum(restart.n_iter + 1 for restart in fit(make(), rows).restarts_)


@ESTIMATORS
def test_fits_that_skip_pairs(estimator, rows, resumes, always):
    """What is remembered of rows stands in no file, and makes no difference."""
    resumes(lambda: estimator(3, n_init=2, init_params="random", max_iter=20, tol=0.0, random_state=3), rows, stride=7)
    assert always


@pytest.mark.slow
def test_starts_that_are_dropped_stay_so(resumes):
    generator = np.random.default_rng(3)
    centres = generator.uniform(-8, 8, (6, 2))
    groups = (centres[:, None] + generator.standard_normal((6, 60, 2))).reshape(-1, 2)

    def make():
        return GaussianMixture(6, n_init=4, init_params="random", race=True, tol=1e-5, max_iter=500, random_state=1)

    assert "dropped" in [restart.outcome for restart in make().fit(groups).restarts_]
    resumes(make, groups, stride=17)


@pytest.mark.slow
def test_a_race_on_a_sample(resumes):
    X = made(140_000)

    def make():
        return GaussianMixture(
            3, n_init=3, init_params="random_from_data", race=True, max_iter=12, random_state=3, tol=1e-4
        )

    resumes(make, X, stride=6)


def test_weights(rows, resumes):
    weight = np.random.default_rng(0).integers(0, 3, len(rows)) * 2.0**70
    resumes(lambda: GaussianMixture(3, random_state=0), rows, stride=2, sample_weight=weight)


def test_float32_arithmetic_goes_on_as_it_was(monkeypatch, resumes):
    """Small rows are computed in float32 as large ones are, until the bound moves by less than its noise."""
    monkeypatch.setattr(single, "SINGLE_WORK", 1)
    modes = []
    judged = single.Single.judged

    def noting(self, *arguments):
        statistics = judged(self, *arguments)
        modes.append(statistics is not None)
        return statistics

    monkeypatch.setattr(single.Single, "judged", noting)
    X = made(dtype=np.float32)
    resumes(lambda: GaussianMixture(3, tol=1e-9, max_iter=300, random_state=0), X, stride=4)
    assert set(modes) == {False, True}


def test_a_start_that_failed_is_not_made_again(resumes):
    X = np.repeat(np.random.default_rng(0).normal(size=(9, 2)), [1, 1, 1, 5, 5, 7, 9, 9, 9], axis=0)

    def make():
        return GaussianMixture(3, n_init=6, init_params="random", reg_covar=0.0, max_iter=200, random_state=2)

    with pytest.warns(ConvergenceWarning, match="starts were left out"):
        outcomes = {restart.outcome for restart in make().fit(X).restarts_}
    assert outcomes > {"failed"}
    resumes(make, X, stride=7)


class _Number:
    """A toy: the state is a number, its bound the number; updates add 1, and from 8 to 9 something collapses.

    From 5 to 6 moments must be taken again.
    """

    def density(self, state):
        return state

    def update(self, statistics, density=None, final=False):
        if 8.0 < statistics < 9.0:
            raise CollapsedComponentError(0)
        return _State(statistics + 1.0, trusted=final or not 5.0 < statistics < 6.0)

    def bound(self, state, statistics):
        return float(statistics)

    def progress(self, state, statistics, successor):
        return float(statistics)

    def collect(self, density, origin=None):
        return density.value


@dataclass
class _State:
    value: float
    trusted: bool = True
    means: None = None


class _Hasty:
    """Proposes one step that is longer than the others."""

    def __init__(self):
        self.n_asked = 0

    def propose(self, state, successor, negligible):
        self.n_asked += 1
        return _State(state.value + 1.5) if self.n_asked == 1 else None

    def memory(self):
        return {"n_asked": self.n_asked}

    def remember(self, memory):
        self.n_asked = memory["n_asked"]


def iterated(state, **options):
    """Return the iterations of the toy from a state on, without their states, and the result with its number."""
    steps, iterations = fit_steps(_Number(), _Number(), state, tol=0.0, accelerator=_Hasty(), **options), []
    while True:
        try:
            iterations.append(next(steps)[:3])
        except StopIteration as end:
            return iterations, vars(end.value) | {"state": end.value.state.value}


@pytest.mark.parametrize("max_iter", [6, 14])
def test_a_loop_goes_on_from_any_of_its_standings(max_iter):
    """With an extrapolation; the longer one comes to a collapse for it, and is undone."""
    kept = []
    iterations, result = iterated(_State(0.0), max_iter=max_iter, keep=kept.append)
    assert [n_iter for n_iter, _, _ in iterations] == (
        [*range(1, 7)] if max_iter == 6 else [*range(1, 9), *range(2, 15)]
    )
    assert result["n_passes"] > len(iterations) + 1
    for n_steps, standing in enumerate(kept):
        assert iterated(standing, max_iter=max_iter) == (iterations[n_steps:], result)


# --- killed ----------------------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
import numpy as np
from fastgmm import BayesianGaussianMixture, GaussianMixture
from fastgmm.fitting import checkpoint
sys.path.insert(0, {tests!r})
from test_checkpoint import killed_fits, made

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

model, when = killed_fits()[int(sys.argv[1])]
model.set_params(checkpoint=sys.argv[2], checkpoint_interval=0)
if when == "writing":
    calls = []
    checkpoint.os.fsync = lambda number: len(calls) == 9 and die() or calls.append(number)
    model.fit(made())
else:
    model.fit(made(), callback=lambda restart, iteration, *_: (restart, iteration) == when and die())
"""


def killed_fits():
    """Return unfitted models, and when their processes are killed: at an iteration of a start, or writing a file."""
    options = {"tol": 1e-5, "max_iter": 300, "random_state": 4}
    return [
        (GaussianMixture(3, accelerate="squarem", n_init=2, **options), (1, 5)),
        (BayesianGaussianMixture(3, **options), "writing"),
    ]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("number", range(2))
def test_a_process_that_is_killed(number, rows, path):
    code = KILLED.format(tests=str(Path(__file__).parent))
    result = subprocess.run(
        [sys.executable, "-c", code, str(number), str(path)], capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == -signal.SIGKILL, result.stderr
    model, when = killed_fits()[number]
    whole = bits(fit(model, rows))
    model, _ = killed_fits()[number]
    iterations = []
    model.set_params(checkpoint=path)
    fit(model, rows, callback=lambda restart, iteration, *_: iterations.append((restart, iteration)))
    assert bits(model) == whole
    # What was written last is the iteration before the one that it was killed in.
    assert iterations[0] == (when if when != "writing" else (0, 9))


def test_a_write_that_fails_leaves_the_last_file_and_the_fit_goes_on(monkeypatch, rows, path, written):
    whole = bits(GaussianMixture(3, random_state=0).fit(rows))
    fsync, calls = os.fsync, []

    def full(number):
        calls.append(number)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(number)

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    model = GaussianMixture(3, random_state=0, checkpoint=path, checkpoint_interval=0)
    with pytest.warns(RuntimeWarning, match=r"could not be written, the fit goes on: No space left on device$"):
        model.fit(rows)
    assert bits(model) == whole
    # One before the first iteration, one after each, and as that failed, one more at the end.
    assert len(calls) == model.n_iter_ + 2
    assert path.read_bytes() == written[-1]
    assert len(written) == 2
    assert os.listdir(path.parent) == [path.name]


@ESTIMATORS
def test_ctrl_c_writes_what_was_reached(estimator, rows, path):
    def interrupt(restart, iteration, *_):
        if iteration == 7:
            raise KeyboardInterrupt

    options = {"random_state": 0, "tol": 1e-6, "max_iter": 300}
    model = estimator(3, checkpoint=path, **options)
    with pytest.raises(KeyboardInterrupt):
        model.fit(rows, callback=interrupt)
    assert not hasattr(model, "means_")
    calls, rest = [], []
    whole = fit(estimator(3, **options), rows, callback=lambda *told: calls.append(told))
    fit(model, rows, callback=lambda *told: rest.append(told))
    assert rest == calls[6:]
    assert bits(model) == bits(whole)


def test_starts_that_ran_in_turn_go_on_together(rows, path):
    def interrupt(restart, iteration, *_):
        if (restart, iteration) == (1, 5):
            raise KeyboardInterrupt

    options = {"n_init": 4, "init_params": "random", "random_state": 3, "tol": 1e-5, "max_iter": 60}
    model = GaussianMixture(3, checkpoint=path, **options)
    with pytest.raises(KeyboardInterrupt):
        model.fit(rows, callback=interrupt)
    assert bits(fit(model.set_params(n_threads=2), rows)) == bits(fit(GaussianMixture(3, **options), rows))


# --- when it is written ----------------------------------------------------------------------------------------------


def test_so_many_seconds_lie_between_two_writes(monkeypatch, rows, path, written):
    now, at = [1000.0], []
    monkeypatch.setattr(checkpoint, "monotonic", lambda: now[0])

    def second(restart, iteration, *_):
        now[0] += 1.0
        at.append(len(written))

    model = GaussianMixture(3, random_state=0, tol=1e-9, max_iter=25, checkpoint=path, checkpoint_interval=10)
    fit(model, rows, callback=second)
    # After 10 and 20 seconds, and at the end.
    assert at == [0] * 10 + [1] * 10 + [2] * 5
    assert len(written) == 3


def test_a_fit_that_has_ended_is_there_at_once(rows, path):
    model = fit(GaussianMixture(3, random_state=0, n_init=2, checkpoint=path), rows)
    content = path.read_bytes()
    again = GaussianMixture(3, random_state=0, n_init=2, checkpoint=path)
    fit(again, rows, callback=lambda *_: pytest.fail("there was nothing left to do"))
    assert bits(again) == bits(model)
    assert path.read_bytes() == content


def test_without_iterations(rows, resumes):
    def make(random_state=0):
        return GaussianMixture(3, max_iter=0, random_state=random_state)

    assert resumes(make, rows) == 1
    assert (fit(make(1), rows).means_ != fit(make(), rows).means_).any()


@pytest.mark.filterwarnings("ignore::fastgmm.exceptions.SpuriousComponentWarning")
def test_a_fit_that_fails_leaves_no_file(path):
    X = np.repeat([[0.0, 0.0], [1.0, 1.0], [2.0, 2.5]], 5, axis=0)
    model = GaussianMixture(3, reg_covar=0.0, random_state=0, checkpoint=path, checkpoint_interval=0)
    with pytest.raises(ValueError, match="ill-defined empirical covariance"):
        model.fit(X)
    assert not path.exists()
    fit(model.set_params(reg_covar=1e-3), X)
    assert path.exists()


@pytest.mark.parametrize("n_init", [1, 3])
@pytest.mark.parametrize("kind", [lambda: None, lambda: np.random.default_rng(), lambda: np.random.RandomState()])
def test_random_numbers_that_were_drawn_are_kept(kind, n_init, rows, path, written):
    def make():
        return GaussianMixture(
            3, n_init=n_init, init_params="random", random_state=kind(), checkpoint=path, checkpoint_interval=0
        )

    whole = bits(fit(make(), rows))
    for content in written[:: max(1, len(written) // 4)]:
        path.write_bytes(content)
        assert bits(fit(make(), rows)) == whole


# --- more iterations -------------------------------------------------------------------------------------------------


@ESTIMATORS
@pytest.mark.parametrize(("accelerate", "n_init"), [(None, 1), ("squarem", 1), ("anderson", 3)])
def test_max_iter_may_be_raised(estimator, accelerate, n_init, rows, path):
    options = {"accelerate": accelerate, "n_init": n_init, "tol": 1e-6, "random_state": 0}
    first = estimator(3, max_iter=6, checkpoint=path, **options)
    with pytest.warns(ConvergenceWarning):
        first.fit(rows)
    iterations = []
    fit(first.set_params(max_iter=400), rows, callback=lambda start, number, *_: iterations.append(number))
    assert iterations[0] == 7
    assert bits(first) == bits(fit(estimator(3, max_iter=400, **options), rows))
    with pytest.raises(CheckpointError, match=r"max_iter was 400 and is 399\."):
        first.set_params(max_iter=399).fit(rows)


def test_max_iter_is_part_of_a_race(rows, path):
    model = fit(GaussianMixture(3, n_init=2, race=True, max_iter=6, random_state=0, checkpoint=path), rows)
    with pytest.raises(CheckpointError, match="max_iter was 6 and is 7"):
        model.set_params(max_iter=7).fit(rows)


# --- other fits, other files -----------------------------------------------------------------------------------------


@pytest.fixture
def half(rows, path):
    """A model whose fit was interrupted."""

    def interrupt(restart, iteration, *_):
        if iteration == 4:
            raise KeyboardInterrupt

    model = GaussianMixture(3, random_state=0, checkpoint=path, tol=1e-8, max_iter=300)
    with pytest.raises(KeyboardInterrupt):
        model.fit(rows, callback=interrupt)
    return model


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_components": 2}, "n_components was 3 and is 2"),
        ({"covariance_type": "tied"}, "covariance_type was 'full' and is 'tied'"),
        ({"tol": 1e-7, "reg_covar": 0.0}, "reg_covar was 1e-06 and is 0.0; tol was 1e-08 and is 1e-07"),
        ({"accelerate": "anderson"}, "accelerate was None and is 'anderson'"),
        ({"n_init": 2}, "n_init was 1 and is 2"),
        ({"random_state": 1}, "random_state was 0 and is 1"),
        ({"random_state": None}, "random_state was 0 and is None"),
        ({"init_params": np.arange(240) % 3}, "init_params was 'auto' and is given"),
        ({"means_init": np.zeros((3, 2))}, "means_init was None and is given"),
    ],
)
def test_other_parameters_are_refused(half, rows, path, params, message):
    content = path.read_bytes()
    with pytest.raises(CheckpointError) as caught:
        half.set_params(**params).fit(rows)
    text = str(caught.value)
    assert text.startswith(f"{path} is the checkpoint of another fit: {message}. ")
    assert text.endswith("delete the file to begin anew, or name another one.")
    assert path.read_bytes() == content


def test_other_arrays_of_a_kind_are_refused(rows, path):
    labels = np.arange(240) % 3
    model = fit(GaussianMixture(3, init_params=labels, checkpoint=path), rows)
    with pytest.raises(CheckpointError, match="another fit: init_params differs"):
        model.set_params(init_params=labels[::-1]).fit(rows)


def test_another_estimator_is_refused(half, rows, path):
    with pytest.raises(CheckpointError, match=r"estimator was 'GaussianMixture' and is 'BayesianGaussianMixture'\. To"):
        BayesianGaussianMixture(3, random_state=0, max_iter=300, checkpoint=path).fit(rows)


def test_other_rows_are_refused(half, rows):
    moved = rows.copy()
    moved[17] += 1e-9
    for other, message in (
        (rows[:-1], "number of rows was 240 and is 239; X differs"),
        (rows.astype(np.float32), "type of X was 'float64' and is 'float32'; X differs"),
        (np.column_stack([rows, rows]), "number of columns was 2 and is 4; X differs"),
        (moved, "another fit: X differs"),
        (rows[::-1], "another fit: X differs"),
    ):
        with pytest.raises(CheckpointError, match=message):
            half.fit(other)
    with pytest.raises(CheckpointError, match="sample_weight was None and is given"):
        half.fit(rows, sample_weight=np.ones(240))


def test_a_fit_may_go_on_from_a_file_of_the_same_rows(half, rows, path, tmp_path):
    whole = bits(fit(GaussianMixture(3, random_state=0, tol=1e-8, max_iter=300), rows))
    content = path.read_bytes()
    np.save(tmp_path / "rows.npy", rows)
    iterations = []
    for other in (tmp_path / "rows.npy", BatchRows([rows[:100], rows[100:]])):
        path.write_bytes(content)
        iterations.clear()
        assert bits(fit(half, other, callback=lambda _, iteration, *__: iterations.append(iteration))) == whole
        assert iterations[0] == 4
    np.save(tmp_path / "rows.npy", rows[::-1])
    with pytest.raises(CheckpointError, match="another fit: X differs"):
        half.fit(tmp_path / "rows.npy")


def test_a_fit_of_partitions_goes_on(rows, resumes):
    array = pytest.importorskip("dask.array")
    partitions = open_rows(array.from_array(rows, chunks=(100, 2)))
    resumes(lambda: GaussianMixture(3, n_init=2, init_params="random", random_state=0), partitions, stride=9)


def test_a_row_among_many_that_has_changed_is_found(path):
    X = made(20_000)
    model = fit(GaussianMixture(3, random_state=0, max_iter=3, checkpoint=path), X)
    X[1] += 1.0
    with pytest.raises(CheckpointError, match="fit to other rows: the sum of their log-densities was -"):
        model.fit(X)


def test_other_weights_are_refused(rows, path):
    weight = np.linspace(0.5, 2.0, 240)
    model = fit(GaussianMixture(3, random_state=0, checkpoint=path), rows, sample_weight=weight)
    with pytest.raises(CheckpointError, match="another fit: sample_weight differs"):
        model.fit(rows, sample_weight=weight[::-1])


def test_a_warm_start_is_another_fit(rows, path):
    model = fit(GaussianMixture(3, random_state=0, max_iter=2), rows)
    model.set_params(warm_start=True, checkpoint=path, max_iter=300, tol=1e-8)
    cold = GaussianMixture(3, random_state=0, max_iter=300, tol=1e-8, checkpoint=path, warm_start=True)
    start = dict(vars(model))
    whole = bits(fit(model, rows))
    again = GaussianMixture(3)
    vars(again).update(start)
    assert bits(fit(again, rows)) == whole
    with pytest.raises(CheckpointError, match="model that warm_start goes on from was given and is None"):
        cold.fit(rows)
    with pytest.raises(CheckpointError, match="model that warm_start goes on from differs"):
        again.fit(rows)


def test_damaged_files_are_refused(half, rows, path):
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in [*range(0, 120), *range(120, len(content), 211)]:
        flipped = bytearray(content)
        flipped[place] ^= 1 << rng.integers(8)
        for damaged in (content[:place], bytes(flipped)):
            path.write_bytes(damaged)
            with pytest.raises(CheckpointError) as caught:
                half.fit(rows)
            assert str(path) in str(caught.value)
            assert "name another" in str(caught.value)
            assert path.read_bytes() == damaged
    path.write_bytes(content + b"\0")
    with pytest.raises(CheckpointError, match="damaged checkpoint"):
        half.fit(rows)
    path.write_bytes(content)
    fit(half, rows)


def test_foreign_files_are_refused(half, rows, path, tmp_path):
    save_model(GaussianMixture.from_parameters([1.0], [[0.0]], [[[1.0]]]), tmp_path / "model.npz")
    for content in (b"", b"a,b\n1,2\n", (tmp_path / "model.npz").read_bytes()):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="is not a fastgmm checkpoint"):
            half.fit(rows)
        assert path.read_bytes() == content


def rewritten(content, change):
    """Return the file with its document and arrays changed, and the right checksum."""
    head, payload = content.split(b"\n", 1)
    with np.load(io.BytesIO(payload)) as archive:
        text, *arrays = (archive[f"arr_{number}"] for number in range(len(archive.files)))
    document = json.loads(text.tobytes())
    document, arrays = change(document, arrays) or (document, arrays)
    stream = io.BytesIO()
    np.savez(stream, np.frombuffer(json.dumps(document).encode(), np.uint8), *arrays)
    head = head.split()[:2] + [hashlib.sha256(stream.getvalue()).hexdigest().encode()]
    return b" ".join(head) + b"\n" + stream.getvalue()


def larger(document, arrays):
    """Arrays of more components than there are."""
    return document, [np.resize(array, (5, *array.shape[1:])) if array.ndim else array for array in arrays]


def unknown(document, arrays):
    """A class that is not in the list."""
    return json.loads(json.dumps(document).replace('"class": "Point"', '"class": "Popen"')), arrays


def pickled(document, arrays):
    """An array that only a pickle can hold."""
    return document, [np.array([print], dtype=object), *arrays[1:]]


def missing(document, arrays):
    """Fewer arrays than there were."""
    return document, arrays[:2]


def narrowed(document, arrays):
    """Arrays of another type."""
    return document, [array.astype(np.float32) for array in arrays]


def stateless(document, arrays):
    """A start without a state."""
    document["stages"][0]["0"]["arguments"][1]["arguments"][1]["arguments"][0]["arguments"][0] = None


def standing_of(document):
    """Return the arguments of the standing of the only start."""
    record = document["stages"][0]["0"]["arguments"]
    return record[1]["arguments"][1]["arguments"]


def other(place, value):
    """Return a change of one argument of the standing."""

    def change(document, arrays):
        standing_of(document)[place] = value

    return change


def of_the_record(place, value):
    """Return a change of one argument of the record, or of what it keeps."""

    def change(document, arrays):
        record = document["stages"][0]["0"]["arguments"]
        (record if place[0] == "record" else record[1]["arguments"])[place[1]] = value

    return change


WRONG_TYPES = [
    *(other(place, value) for place in (1, 2, 3, 4, 5, 6, 7) for value in ("a", 10**400, None, ["a"], {"dict": {}})),
    *(other(place, value) for place in (8, 9) for value in ("a", 1, ["a"], {"tuple": [1]}, {"dict": {"_points": 3}})),
    other(1, -1), other(1, 10**6), other(2, []), other(9, {"dict": {}}),
    of_the_record(("record", 0), "a"), of_the_record(("record", 0), 1.5), of_the_record(("record", 2), "collapsed"),
    of_the_record(("kept", 0), None), of_the_record(("kept", 2), 3), of_the_record(("kept", 2), {"tuple": ["a", "b"]}),
]  # fmt: skip


@pytest.mark.parametrize("change", [larger, unknown, pickled, missing, narrowed, stateless, *WRONG_TYPES])
def test_files_that_were_made_up_are_refused(half, rows, path, change):
    content = path.read_bytes()
    assert rewritten(content, lambda document, arrays: None)[:100] != b""
    path.write_bytes(rewritten(content, lambda document, arrays: None))
    bits_of = bits(fit(GaussianMixture(**half.get_params()), rows))
    path.write_bytes(rewritten(content, change))
    with pytest.raises(CheckpointError, match="it does not describe a fit"):
        half.fit(rows)
    path.write_bytes(content)
    assert bits(fit(half, rows)) == bits_of


def test_files_of_other_versions_are_refused(monkeypatch, half, rows, path):
    content = path.read_bytes()
    path.write_bytes(content.replace(b"fastgmm-checkpoint 1 ", b"fastgmm-checkpoint 2 ", 1))
    with pytest.raises(CheckpointError, match="is a checkpoint of format 2, this fastgmm reads 1: go on with"):
        half.fit(rows)
    path.write_bytes(content)
    monkeypatch.setattr(checkpoint, "__version__", "99.0")
    with pytest.raises(CheckpointError, match=r"is a checkpoint of fastgmm 0\..*, this is 99\.0: go on with"):
        half.fit(rows)


# --- at the door -----------------------------------------------------------------------------------------------------


def test_a_place_that_cannot_be_written_is_found_before_the_fit(rows, tmp_path):
    for place, error in ((tmp_path / "none" / "fit.checkpoint", FileNotFoundError), (tmp_path, IsADirectoryError)):
        with pytest.raises(error, match="cannot write"):
            GaussianMixture(2, checkpoint=place).fit(rows, callback=lambda *_: pytest.fail("the fit began"))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"checkpoint": 3}, "checkpoint must be a path or None, got 3."),
        ({"checkpoint_interval": -1}, r"checkpoint_interval must be a float in the range \[0, inf\), got -1."),
        ({"checkpoint": "x", "init_params": lambda *_: 0}, "checkpoint does not go with a callable init_params"),
    ],
)
def test_parameters_are_checked(rows, params, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(2, **params).fit(rows)


def test_a_model_file_does_not_name_the_checkpoint(rows, path, tmp_path):
    model = fit(GaussianMixture(2, random_state=0, checkpoint=str(path), checkpoint_interval=5.0), rows)
    save_model(model, tmp_path / "model.json")
    assert load_model(tmp_path / "model.json").checkpoint is None


def test_nothing_is_kept_without_a_checkpoint(monkeypatch, rows):
    monkeypatch.setattr("fastgmm.fitting.loop.Standing.__init__", lambda *_: pytest.fail("a standing was made"))
    fit(GaussianMixture(3, accelerate="squarem", random_state=0), rows)


def test_what_a_checkpoint_cannot_hold_is_not_written(path):
    with pytest.raises(TypeError, match="a checkpoint cannot hold a set"):
        Checkpoint(path, 0.0)._packed({1}, {})


def test_the_section_about_checkpoints_runs(rows, tmp_path, monkeypatch):
    page = Path(__file__).parents[1] / "docs" / "sources.md"
    if not page.exists():
        pytest.skip("needs a checkout")
    monkeypatch.chdir(tmp_path)
    np.save("rows.npy", rows)
    section = page.read_text().partition("\n## Checkpoints\n")[2].partition("\n## ")[0]
    names = {"model": GaussianMixture(2, random_state=0)}
    (block,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    exec(block, names)
    assert (tmp_path / "fit.checkpoint").exists()
    assert bits(names["model"]) == bits(GaussianMixture(2, random_state=0).fit(rows))


@pytest.mark.slow
def test_the_benchmark_runs(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    importlib.import_module("checkpoints").main(["--iterations", "2", "--rows", "300"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert {line.count("|") for line in lines} == {7}
