"""Metrics of fields: distances of values, tails, spectra and dependence, and ensembles."""
