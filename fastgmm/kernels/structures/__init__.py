"""What kernels see of a covariance: a class of density each, and the contract of their functions."""
