"""Weather fields: GRIB, NetCDF and zarr as people have them, turned into a packed store of standardised fields and back."""
