"""Tables of numbers in files and in memory, read with one notion of missing values."""
