# Mclust's choice by BIC, for selection.py: Rscript mclust_choice.R FOLDER MOST MODEL,MODEL,... The folder holds "sizes"
# (rows, features) and "X", float64 in the order of R, and gets "result": seconds, the number of components, BIC.

suppressMessages(library(mclust))
words <- commandArgs(trailingOnly = TRUE)
place <- function(name) file.path(words[1], name)
sizes <- readBin(place("sizes"), "double", 2)
X <- matrix(readBin(place("X"), "double", prod(sizes)), sizes[1], sizes[2])
models <- strsplit(words[3], ",")[[1]]
seconds <- system.time(
  bic <- mclustBIC(X, G = seq_len(as.integer(words[2])), modelNames = models, verbose = FALSE)
)[["elapsed"]]
best <- names(pickBIC(bic, 1))
writeBin(as.double(c(seconds, as.integer(sub(".*,", "", best)), -pickBIC(bic, 1))), place("result"))
