# mclust's EM from given parameters, for mclust.py. A request is a line: a folder that holds arrays of float64 in the
# order of R, the model's name, the number of iterations, and whether X is to be read again. The answer is the seconds.

suppressMessages(library(mclust))
cat(as.character(packageVersion("mclust")), "\n", sep = "")
requests <- file("stdin", "r")
while (length(line <- readLines(requests, 1)) > 0) {
  words <- strsplit(line, " ")[[1]]
  place <- function(name) file.path(words[1], name)
  read <- function(name, dim) array(readBin(place(name), "double", prod(dim)), dim)
  sizes <- read("sizes", 3)
  n <- sizes[1]
  d <- sizes[2]
  k <- sizes[3]
  model <- words[2]
  if (words[4] == "again") X <- if (d == 1) as.vector(read("X", n)) else read("X", c(n, d))
  sigma <- read("covariances", c(d, d, k))
  factors <- array(apply(sigma, 3, chol), c(d, d, k))
  variances <- matrix(sigma[cbind(1:d, 1:d, rep(1:k, each = d))], d, k)
  scale <- exp(colMeans(log(variances)))
  variance <- list(
    modelName = model, d = d, G = k, cholsigma = factors, cholSigma = factors[, , 1],
    sigmasq = variances[1, seq_len(if (model == "E") 1 else k)],
    scale = scale, shape = sweep(variances, 2, scale, "/")
  )
  start <- list(pro = as.vector(read("weights", k)), mean = read("means", c(d, k)), variance = variance)
  if (d == 1) start$mean <- as.vector(start$mean)
  control <- emControl(tol = c(0, 0), itmax = rep(as.integer(words[3]), 2))
  seconds <- system.time(
    result <- em(data = X, modelName = model, parameters = start, control = control, warn = FALSE)
  )[["elapsed"]]
  found <- result$parameters
  sigma <- found$variance[[if (d == 1) "sigmasq" else "sigma"]]
  writeBin(as.double(c(found$pro, found$mean, rep_len(sigma, d * d * k))), place("result"))
  cat(format(seconds, digits = 17), "\n", sep = "")
}
