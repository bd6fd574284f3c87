"""The compiled functions of a covariance family, chosen by the class of the density; some have a default.

Shapes: K components, D features, T columns of a tile. A tile `x` is feature-major, (D, T), and its first `n` columns
hold rows; so are the buffers that go with it, so that vector lanes run over rows. All come from
:func:`fastgmm.kernels.vector.tiles.tile_buffer` and have the type of the density, float64 or float32. Columns from n
on, as far as a chunk of vectors reaches, are read (they must be finite) and overwritten. Statistics are float64. A
family's `scatter`, `covariance` and `whitener` share one shape (see :mod:`fastgmm.kernels.structures.densities`).
"""

from __future__ import annotations

import numpy as np

from fastgmm.kernels.compiling import dispatched


@dispatched
def blank(density, n_components):
    """Return an uninitialised float64 density of the same class and number of features, of so many components."""


@dispatched
def workspace(density, tile_rows):
    """Return a scratch tile buffer that the tile functions of this family need; by default an empty array."""


@workspace.otherwise
def _no_workspace(density, tile_rows):
    return np.empty((0, 0), density.mean.dtype)


@dispatched
def reads_distances(density):
    """Return whether :func:`accumulate_tile` reads distances: only then are they kept. By default it does not."""


@reads_distances.otherwise
def _reads_no_distances(density):
    return False


@dispatched
def prepare(density):
    """Return a 2-d table of constants derived from the density once per lane of rows; by default an empty one."""


@prepare.otherwise
def _no_table(density):
    return np.empty((0, 0))


@dispatched
def distance_tile(density, table, x, n, scratch, distance):
    """Overwrite distance[k, :n] with the squared Mahalanobis distances of the tile's rows from each component."""


@dispatched
def accumulate_tile(density, origin, x, n, responsibility, tile_mass, distance, scratch, deviation, scatter):
    """Add the tile's weighted moments about `origin` to `deviation` (K, D) and `scatter`.

    `responsibility` (K, T) holds w * r, 0 from column n on, and `tile_mass` (K,) its sums over rows; components of sum
    0 are passed over.
    `distance` holds what :func:`distance_tile` wrote, or is an empty array where
    the responsibilities did not come from the density or `origin` is not ``density.mean``. Of a matrix scatter only
    the lower triangle is defined. A `scatter` of size 0 is left alone.
    """


@dispatched
def project(density, k, factor, u, v, scatter):
    """Add `factor` times the family's projection of the symmetrised outer product u v^T to component k's scatter."""


@dispatched
def pool(density, mass):
    """Return the weight behind each block of the scatter: the ML denominator and the VB degrees of freedom."""


@dispatched
def variance(density, covariance, k, j):
    """Return the variance of feature j in component k."""


@dispatched
def regularise(density, covariance, amount):
    """Add `amount` to every variance in `covariance`, in place; one that rounding made negative counts as 0."""


@dispatched
def whiten(density, covariance):
    """Overwrite ``density.whitener`` from `covariance`; return the first block that is not positive, or -1."""


@dispatched
def log_determinant(density, k):
    """Return the logarithm of the determinant of component k's whitener."""


@dispatched
def wishart(density):
    """Return (dimension, count): the dimension of a Wishart block, and how many blocks share an entry of the pool."""


@dispatched
def inner(density, scatter):
    """Return the sum over all blocks of the inner products of the precisions (whitener squared) with `scatter`."""


@dispatched
def amplification(density, centre):
    """Return by how much, at most, rounding rows about `centre` (D,) and the density grows in whitened features.

    The largest, over components and whitened features, of the sum of |whitener| times (standard deviation + distance
    of the mean from the centre).
    """


@dispatched
def component(density, k):
    """Return component k as a density of one component, whose arrays count no references."""


@dispatched
def whitened_length(density, k, vector):
    """Return the length of whitener[k] times `vector` (D,)."""


@dispatched
def stretch(density, k, unit):
    """Return (least, most, rough, spread) of component k's whitener A in units of 1 / `unit` (D,).

    Bounds of the length of A z over that of unit * z, for vectors z; a bound of that of |A| |z|, which rounding errors
    are made of; and the mean square of unit * z for rows z of the component about its mean.
    """


@dispatched
def draw_lines(density, hint, listed, n_listed, gap, image, lines):
    """Bring `lines` (see ``skipping.Lines``) up to date for a hint and the components listed after it.

    Returns whether it did: nothing is done where a distance costs little more than a look along a line, and by default.
    `gap` and `image` (D,) are scratch.
    """


@draw_lines.otherwise
def _draw_no_lines(density, hint, listed, n_listed, gap, image, lines):
    return False


@dispatched
def enter_tile(density, table, x, n, scratch):
    """Make ready, in `scratch`, for the distances of a tile from listed components; by default nothing is done."""


@enter_tile.otherwise
def _enter(density, table, x, n, scratch):
    pass


@dispatched
def begin_distances(density, table, x, scratch, n, listed, begin, end, distance):
    """Overwrite rows begin .. end of `distance` with the first squares of the distances from their listed components.

    Row s belongs to component ``listed[s]``. How many squares these are is the family's choice.
    """


@dispatched
def finish_distances(density, table, x, scratch, n, candidates, n_slots, limits):
    """Finish the distances of ``candidates.slots[:n_slots]``, or give them up: see ``partial.finish_whitened``."""
