"""Data sets: what people bring, turned into packed zarr stores. Nothing here knows of diffusion."""
