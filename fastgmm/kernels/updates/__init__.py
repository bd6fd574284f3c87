"""From statistics to the next mixture: moments, maximum likelihood, variational Bayes, components on few rows."""
