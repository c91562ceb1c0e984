"""The stages of dvc.yaml, one module each: prepare, reference, train, tune, sample, evaluate, compare, report.

What they share is in the sub-packages. ``python -m tasks STAGE --dataset NAME`` runs one.
"""
