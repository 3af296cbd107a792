"""Models of votes: Dirichlet-multinomials, their mixtures, and priors calibrated from a proxy."""
