"""What plugins of the common kinds stand on: series, points, pictures. The names are public through `binder`."""
