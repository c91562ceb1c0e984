"""Metrics of numbers, whatever they are of: marginals, tails, intervals, paired tests."""
