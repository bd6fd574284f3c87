"""Vector code: what takes the time of a pass, written with llvmlite.

:mod:`code <fastgmm.kernels.vector.code>` is the language. In it are written: tiles and how rows come into them, their
squared distances from components, all (`distances`) or only as far as they matter (`partial`), responsibilities
(`softmax`) and sums (`moments`). Exponential and logarithm (`elementary`) are plain kernels.
"""

from fastgmm.kernels.vector import distances, elementary, moments, partial, softmax, tiles

__all__ = ["distances", "elementary", "moments", "partial", "softmax", "tiles"]
