"""Model files and checkpoints that were changed at random: each is read, or refused by its own error and name."""

import copy
import hashlib
import io
import json
import warnings
import zipfile

import numpy as np
import pytest
from conftest import slow

from fastgmm import BayesianGaussianMixture, GaussianMixture
from fastgmm.exceptions import CollapsedComponentError, ConvergenceWarning, OutOfRangeError
from fastgmm.fitting.checkpoint import CheckpointError
from fastgmm.io import ModelFileError, load_model, save_model

#: Changed files for each test.
COUNT = 60
ROWS = np.random.default_rng(0).normal(size=(40, 2)) * [1, 3]

#: What a value of a document is replaced with.
ODD_VALUES = (
    *(None, True, 0, 1, -1, 3, 2**31, 2**63, -(2**64), 10**400, -(10**400), 0.5, -0.0, 1e308, 1e-320, float("nan")),
    *("", "nan", "1e400", "full", "__class__", "\ud800", "x" * 1000, [], [[]], [[[[]]]], [1, [2]], ["a"], [None]),
    *([10**400], [[1e308] * 2] * 2, [True], {}, {"array": 0}, {"array": -1}, {"array": 10**400}, {"scalar": 10**400}),
    *({"scalar": 1, "type": "O"}, {"scalar": 1, "type": "<f8"}, {"tuple": 3}, {"tuple": []}, {"dict": []}),
    *({"class": "Record", "arguments": []}, {"class": "Exception", "arguments": ["a"]}, {"class": [], "arguments": 1}),
)
#: What an array is replaced with.
ODD_ARRAYS = (
    np.array(None), np.array([]), np.array([[]]), np.zeros((0, 2)), np.zeros((2, 0)), np.zeros((1, 1, 1, 1)),
    np.array(1), np.array(np.nan), np.full((2, 2), np.inf), np.array(["a"]), np.array([1j]), np.array([True, False]),
    np.zeros(2, "M8[s]"), np.zeros(2, [("a", float)]), np.array([2**63], np.uint64), np.zeros((2, 2), np.float16),
    np.zeros((3, 2)), np.ones((2, 2, 2)), np.asfortranarray(np.arange(4.0).reshape(2, 2)), np.zeros((2, 2), ">f8"),
    np.full((2, 2), np.finfo(np.longdouble).max),
)  # fmt: skip


def places(value, path=()):
    """Yield the path of every value in a document."""
    yield path
    if isinstance(value, dict | list):
        for key, each in list(value.items()) if isinstance(value, dict) else list(enumerate(value)):
            yield from places(each, (*path, key))


def changed(document, rng):
    """Return a document with one or two values replaced, left out, doubled or nested."""
    document = copy.deepcopy(document)
    for _ in range(int(rng.integers(1, 3))):
        every = [path for path in places(document) if path]
        if not every:
            break
        *above, last = every[rng.integers(len(every))]
        parent = document
        for key in above:
            parent = parent[key]
        value = parent[last]
        kind = rng.integers(6)
        if kind == 0:
            del parent[last]
        elif kind == 1:
            parent[last] = [value]
        elif kind == 2:
            parent[last] = [value, value]
        elif kind == 3 and isinstance(parent, dict):
            parent[str(last) + "_"] = parent.pop(last)
        else:
            parent[last] = copy.deepcopy(ODD_VALUES[rng.integers(len(ODD_VALUES))])
    return document


def changed_arrays(arrays, rng):
    """Return arrays by name with one of them replaced, left out or turned; some cannot be but a pickle."""
    arrays = dict(arrays)
    name = sorted(arrays)[rng.integers(len(arrays))]
    kind = rng.integers(5)
    if kind == 0:
        del arrays[name]
    elif kind == 1:
        arrays[name] = arrays[name][None]
    elif kind == 2:
        arrays[name] = arrays[name].astype(
            "O" if arrays[name].dtype.kind == "U" else rng.choice(["f4", "i8", "U9", "O"])
        )
    else:
        arrays[name] = ODD_ARRAYS[rng.integers(len(ODD_ARRAYS))]
    return arrays


def archive(arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def torn(data, rng):
    """Return bytes of which some are changed, or the end is missing."""
    data = bytearray(data)
    if rng.random() < 0.3:
        return bytes(data[: rng.integers(len(data))])
    for place in rng.integers(len(data), size=3):
        data[place] = rng.integers(256)
    return bytes(data)


def members(path):
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def fitted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        single = GaussianMixture(2, covariance_type="diag", random_state=0, max_iter=3).fit(ROWS.astype(np.float32))
        return [
            GaussianMixture(2, covariance_type="diag", random_state=0, max_iter=3).fit(ROWS),
            BayesianGaussianMixture(2, covariance_type="diag", random_state=0, max_iter=3).fit(ROWS),
            single,
        ]


@pytest.fixture(scope="module")
def models():
    return fitted()


def load_or_refuse(path, error):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            model = load_model(path)
        except error as refusal:
            message = str(refusal)
        else:
            message = ""
    if message:
        assert path.name in message
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(model.score_samples(np.zeros((1, model.n_features_in_)))).all()
        return True


@pytest.mark.parametrize("number", range(3))
def test_changed_json_models_are_read_or_refused(models, tmp_path, number):
    rng = np.random.default_rng(number)
    path = tmp_path / "m.json"
    save_model(models[number], path)
    document = json.loads(path.read_text())
    for _ in range(COUNT):
        path.write_text(json.dumps(changed(document, rng)))
        load_or_refuse(path, ModelFileError)


@pytest.mark.parametrize("number", range(3))
def test_changed_archives_are_read_or_refused(models, tmp_path, number):
    rng = np.random.default_rng(number)
    path = tmp_path / "m.npz"
    save_model(models[number], path)
    data = path.read_bytes()
    with np.load(path) as file:
        arrays = dict(file)
    for _ in range(COUNT):
        kind = rng.integers(3)
        if kind == 0:
            metadata = changed(json.loads(str(arrays["metadata"])), rng)
            path.write_bytes(archive(arrays | {"metadata": np.array(json.dumps(metadata))}))
        else:
            path.write_bytes(archive(changed_arrays(arrays, rng)) if kind == 1 else torn(data, rng))
        load_or_refuse(path, ModelFileError)


def sealed(arrays):
    payload = archive(arrays)
    return b"fastgmm-checkpoint 1 " + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload


@pytest.mark.parametrize("estimator", [GaussianMixture, BayesianGaussianMixture])
@pytest.mark.parametrize("accelerate", [None, *slow("squarem"), "anderson"])
def test_changed_checkpoints_of_a_right_digest_are_used_or_refused(tmp_path, estimator, accelerate):
    rng = np.random.default_rng(0)
    path = tmp_path / "c"
    model = estimator(
        2, covariance_type="diag", random_state=0, max_iter=4, tol=0.0, accelerate=accelerate, checkpoint=path,
        checkpoint_interval=0,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(ROWS)
    head, payload = path.read_bytes().split(b"\n", 1)
    with np.load(io.BytesIO(payload)) as file:
        arrays = dict(file)
    document = json.loads(arrays["arr_0"].tobytes())
    for _ in range(COUNT):
        kind = rng.integers(4)
        if kind == 3:
            path.write_bytes(head + b"\n" + torn(payload, rng))
        elif kind == 2:
            path.write_bytes(sealed(changed_arrays(arrays, rng)))
        else:
            text = json.dumps(changed(document, rng)).encode()
            path.write_bytes(sealed(arrays | {"arr_0": np.frombuffer(text, np.uint8)}))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            message = path.name
            try:
                model.fit(ROWS)
            except CheckpointError as refusal:
                message = str(refusal)
            except (CollapsedComponentError, OutOfRangeError):
                pass  # a start may be said to have failed so
        assert path.name in message
