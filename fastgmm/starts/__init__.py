"""Where fits start: k-means, agglomeration, and the methods that use them."""
