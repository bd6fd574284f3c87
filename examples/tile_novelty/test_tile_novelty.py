import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from tile_novelty import novelty_map


@pytest.fixture
def mixture():
    rng = np.random.default_rng(5)
    factors = rng.normal(size=(3, 4, 9))
    return np.array([0.5, 0.3, 0.2]), rng.normal(size=(3, 4)), factors @ factors.transpose(0, 2, 1) / 9


def ordinary_image(mixture, height, width):
    rng = np.random.default_rng(6)
    weights, means, covariances = mixture
    label = rng.choice(len(weights), size=(height, width), p=weights)
    noise = rng.normal(size=(height, width, 4, 1))
    return means[label] + (np.linalg.cholesky(covariances)[label] @ noise)[..., 0]


def twin(image, weights, means, covariances, size):
    joint = [
        np.log(weight) + multivariate_normal(mean, covariance).logpdf(image)
        for weight, mean, covariance in zip(weights, means, covariances, strict=True)
    ]
    novelty = -logsumexp(joint, axis=0)
    height, width = (n // size for n in novelty.shape)
    return novelty[: height * size, : width * size].reshape(height, size, width, size).mean(axis=(1, 3))


@pytest.mark.parametrize(("shape", "size"), [((40, 56), 8), ((23, 30), 5), ((4, 4), 4), ((3, 3), 4)])
def test_equals_scipy(mixture, shape, size):
    image = ordinary_image(mixture, *shape)
    expected = twin(image, *mixture, size)
    np.testing.assert_allclose(novelty_map(image, *mixture, size), expected, rtol=1e-12)


def test_a_stain_stands_out(mixture):
    image = ordinary_image(mixture, 64, 64)
    image[24:32, 40:48] += 3.0
    novelty = novelty_map(image, *mixture)
    assert np.unravel_index(novelty.argmax(), novelty.shape) == (3, 5)


def test_errors_name_what_is_wrong(mixture):
    weights, means, covariances = mixture
    image = ordinary_image(mixture, 8, 8)
    covariances[1] = 1.0
    with pytest.raises(ValueError, match="component 1 must be positive definite"):
        novelty_map(image, weights, means, covariances)
    with pytest.raises(ValueError, match=r"shapes .* got \(\(3,\), \(3, 3\)"):
        novelty_map(image, weights, means[:, :3], covariances)
    with pytest.raises(ValueError, match="image must be"):
        novelty_map(image[0], weights, means, covariances)
