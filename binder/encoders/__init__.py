"""What plugins build encoders from; the names are public through `binder`.

`kinds` makes a whole modality out of one reading function: `series/` for channels over time, `points/` for point
clouds, `raster/` for grids of measurements, `picture` for anything that can be drawn. `transformer` is the network that
series and points share, `drawing` makes previews. A new kind is a folder here and a function in `kinds`.
"""
