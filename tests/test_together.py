"""Fits to rows that are read again in every pass: several of them share each look, and answer what they would alone."""

import threading
import time
from itertools import islice

import numpy as np
import pytest

from fastgmm import GaussianMixture, GaussianMixtureIC
from fastgmm.sources import BatchRows, together
from fastgmm.sources.together import Together


class Counted:
    """Batches of rows, which count how often they are begun, and are made in one thread each time."""

    def __init__(self, X):
        self.X, self.n_looks, self.fails_at = X, 0, None

    def __call__(self):
        self.n_looks += 1
        thread = threading.get_ident()
        for place in range(0, len(self.X), 70):
            if self.n_looks == self.fails_at and place:
                raise OSError("the disk is gone")
            yield self.X[place : place + 70]
            assert threading.get_ident() == thread


@pytest.fixture
def patient(monkeypatch):
    """Who is late because the machine is busy is waited for."""
    monkeypatch.setattr(together, "_FIRST", 10.0)
    monkeypatch.setattr(together, "_SHORTEST", 10.0)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(size=(120, 2)) * [1, 3], rng.normal(size=(80, 2)) + [9, 0]])


@pytest.mark.filterwarnings("ignore:.*did not converge")
@pytest.mark.parametrize("race", [True, False])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_starts_share_looks(patient, rows, race, n_threads):
    model = GaussianMixture(3, n_init=4, race=race, tol=1e-12, max_iter=30, random_state=0, n_threads=n_threads)
    expected = model._blank().fit(rows)
    batches = Counted(rows)
    model.fit(BatchRows(batches))
    for name in ("weights_", "means_", "covariances_"):
        np.testing.assert_array_equal(getattr(model, name), getattr(expected, name))
    assert model.restarts_ == expected.restarts_
    n_passes = sum(each.n_iter for each in model.restarts_)
    assert n_passes > 60
    assert batches.n_looks < 0.6 * n_passes


def test_candidates_share_looks(patient, rows):
    alone, shared = Counted(rows), Counted(rows)
    selection = GaussianMixtureIC(1, 4, covariance_type=["full", "diag"], estimator=GaussianMixture(), random_state=0)
    selection.fit(BatchRows(shared))
    streamed = BatchRows(alone)
    for candidate in selection.candidates_:
        model = GaussianMixture(candidate.n_components, covariance_type=candidate.covariance_type, random_state=0)
        values = {"bic": model.fit(streamed).bic(streamed), "aic": model.aic(streamed), "icl": model.icl(streamed)}
        assert values.items() <= candidate.values.items()
        np.testing.assert_array_equal(candidate.model.means_, model.means_)
    assert shared.n_looks < 0.4 * alone.n_looks


def test_an_error_in_a_look_reaches_who_asked(rows):
    batches = Counted(rows)
    streamed = BatchRows(batches)
    model = GaussianMixture(2, random_state=0).fit(rows)
    before = dict(vars(model))
    batches.fails_at = batches.n_looks + 3
    with pytest.raises(OSError, match="the disk is gone"):
        model.set_params(n_init=3, tol=1e-12).fit(streamed)
    assert {name: vars(model)[name] for name in ("means_", "n_iter_")} == {
        name: before[name] for name in ("means_", "n_iter_")
    }
    assert threading.active_count() < 20
    batches.fails_at = None
    assert model.fit(streamed).converged_


class Reusing:
    """Batches in memory that the next one overwrites, of sizes that blocks do not end with."""

    def __init__(self, X):
        self.X = X

    def __call__(self):
        buffer = np.empty((50, self.X.shape[1]))
        for place in range(0, len(self.X), 50):
            batch = buffer[: min(50, len(self.X) - place)]
            batch[...] = self.X[place : place + 50]
            yield batch
        buffer.fill(np.nan)


@pytest.mark.filterwarnings("ignore:.*did not converge")
@pytest.mark.parametrize("kind", ["reused memory", "npy", "npy and weights", "Fortran"])
def test_batches_are_there_as_long_as_they_are_read(tmp_path, kind):
    """The table goes on to the next one when all fits are done with one; a file is read in one place at a time."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(3000, 3))
    X[::2] += 4
    model = GaussianMixture(2, n_init=4, max_iter=5, tol=0.0, random_state=0, init_params="random")
    weight = rng.integers(1, 4, len(X)).astype(float) if kind == "npy and weights" else None
    expected = model._blank().fit(X, sample_weight=weight)
    np.save(tmp_path / "x.npy", np.asfortranarray(X) if kind == "Fortran" else X)
    if weight is not None:
        np.save(tmp_path / "w.npy", weight)
        weight = tmp_path / "w.npy"
    for _ in range(3):
        model.fit(BatchRows(Reusing(X)) if kind == "reused memory" else tmp_path / "x.npy", sample_weight=weight)
        np.testing.assert_array_equal(model.means_, expected.means_)
        np.testing.assert_array_equal(model.covariances_, expected.covariances_)


def _in_threads(*tasks):
    threads = [threading.Thread(target=task) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)


def test_who_leaves_is_not_waited_for(patient):
    looks, seen, both = [], {}, threading.Barrier(2)
    meeting = Together(lambda: looks.append(0) or iter(range(5)))

    def read(name, n):
        with meeting.taking_part():
            both.wait(20)
            batches = meeting.batches()
            seen[name] = list(islice(batches, n))
            batches.close()

    _in_threads(lambda: read("some", 2), lambda: read("all", 9))
    assert seen == {"some": [0, 1], "all": [0, 1, 2, 3, 4]}
    assert len(looks) == 1


def test_who_is_late_is_not_waited_for_long(monkeypatch):
    looks = []
    meeting = Together(lambda: looks.append(0) or iter(range(3)))
    assert list(meeting.batches()) == [0, 1, 2]
    done = threading.Event()

    def late():
        with meeting.taking_part():
            done.wait(20)

    def quick():
        time.sleep(0.05)
        with meeting.taking_part():
            for _ in range(4):
                assert list(meeting.batches()) == [0, 1, 2]
        done.set()

    _in_threads(late, quick)
    assert done.is_set()
    assert len(looks) == 5


@pytest.mark.filterwarnings("ignore:.*did not converge")
def test_partitions_are_made_once_for_several_starts(patient, rows):
    array = pytest.importorskip("dask.array")
    made = []

    def touch(block):
        made.append(len(block))
        return block

    blocks = array.from_array(rows, chunks=(50, 2)).map_blocks(touch, dtype=float, meta=np.empty((0, 2)))
    model = GaussianMixture(3, n_init=4, race=False, tol=1e-12, max_iter=20, random_state=0)
    expected = model._blank().fit(rows)
    made.clear()
    model.fit(blocks)
    np.testing.assert_allclose(model.means_, expected.means_, rtol=1e-10)
    assert [each.n_iter for each in model.restarts_] == [each.n_iter for each in expected.restarts_]
    assert len(made) / 4 < 0.6 * sum(each.n_iter for each in model.restarts_)


def test_weights_in_another_unit_are_other_rows(rows):
    """A look that is shared is at the same rows with the same weights."""
    array = pytest.importorskip("dask.array")
    weight = np.full(len(rows), 2.0**-400)
    model = GaussianMixture(2, n_init=2, random_state=0)
    expected = model._blank().fit(rows, sample_weight=weight)
    model.fit(array.from_array(rows, chunks=(50, 2)), sample_weight=array.from_array(weight, chunks=50))
    np.testing.assert_allclose(model.means_, expected.means_, rtol=1e-10)
