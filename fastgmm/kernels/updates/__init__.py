"""Parameters from statistics: maximum likelihood, constraints, variational Bayes, smoothing; and densities."""
