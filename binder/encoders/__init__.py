"""What plugins stand on: series, points, rasters, pictures. The names are public through `binder`."""
