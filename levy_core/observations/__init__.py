"""Samples that agree with observations: operators, the data's covariance, guides, and oracles that know the exact answer."""
