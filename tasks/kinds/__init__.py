"""Kinds of data: one folder each."""
