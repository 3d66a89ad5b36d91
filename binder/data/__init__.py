"""From sources to vectors: what lies where, in the order in which data passes through.

`sources` finds items in files, folders and values; `manifest` reads rows, from the `cells` of a file; `columns` groups
a modality's items by content and `split` the rows into train and held-out; `encode` makes vectors, kept by `cache` in
`shards` on disk.
"""
