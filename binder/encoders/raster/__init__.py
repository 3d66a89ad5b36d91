"""Rasters: `shades` turns measurements into gray pictures, `encoder` shows them to the image tower."""
