"""k-means: nearest centres, k-means++ seeding (Arthur and Vassilvitskii 2007), Lloyd's iterations.

The seeding is greedy: the best of a few candidates at each step. It keeps the distance from the nearest centre for each
row and sums of them for each tile, so that drawing a row reads the sums and one tile.

Lloyd's iteration can pass rows over whose label cannot change (after Hamerly 2010, with one number a row). Labels, and
so everything that follows from them, are bit for bit those of an iteration that looks at every row.

Rows are read in a frame, in which distances neither cancel nor under- nor overflow (``assign.Framed``). Centres are
given in the frame.
"""
