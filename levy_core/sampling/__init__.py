"""From noise to data: grids, step tables, solvers, the sampling loop, and the search for the best solver."""
