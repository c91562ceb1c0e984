"""Sampling in phase space: the noising process of PSLD and CLD, its integrators as tables, and the loop that follows them."""
