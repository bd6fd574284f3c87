# Mclust from its own start, for quality.py: Rscript mclust_default.R FOLDER MODEL COMPONENTS SEED. The folder holds
# "sizes" (rows, features) and "X", float64 in the order of R, and gets "result": seconds, weights, means, covariances
# (dense), or nothing but the seconds where the fit fails.

suppressMessages(library(mclust))
words <- commandArgs(trailingOnly = TRUE)
place <- function(name) file.path(words[1], name)
sizes <- readBin(place("sizes"), "double", 2)
X <- matrix(readBin(place("X"), "double", prod(sizes)), sizes[1], sizes[2])
k <- as.integer(words[3])
d <- sizes[2]
set.seed(as.integer(words[4]))
seconds <- system.time(fit <- Mclust(X, G = k, modelNames = words[2], verbose = FALSE))[["elapsed"]]
found <- fit$parameters
sigma <- if (d == 1) found$variance$sigmasq else found$variance$sigma
values <- if (is.null(fit)) c() else c(found$pro, found$mean, rep_len(sigma, d * d * k))
writeBin(as.double(c(seconds, values)), place("result"))
