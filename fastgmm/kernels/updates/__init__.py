"""Parameters: from statistics, by maximum likelihood and variational Bayes; and densities from parameters."""
