"""`levy reproduce`: a registered version made again from its lineage, compared, and a verdict."""
