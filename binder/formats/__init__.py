"""Files and in-memory data -> bytes, text, tables, arrays, pictures and rasters.

Nothing a header claims is trusted: sizes are checked against the bytes that are there before memory is allocated.
`content` opens files and decodes text. Numbers: `arrays`, `delimited`, `parquet`, and `table` over all three, with
`clock` to find its time column. Images: `picture` (as people see it), `raster` (as it was measured), with `netpbm` and
`whole` below them. A new format is a module here plus a branch in `read_table`, `read_image` or `read_raster`.
"""
