"""The persistent index: items and vectors of one space on disk, and search.

LanceDB does the work (columnar tables, vector and word indexes, SQL conditions, commits, object stores); this package
adds the space, what items are, what has changed, and what a crash must not take.
"""

from binder.index.add import Added
from binder.index.hits import Hit
from binder.index.index import Index
from binder.index.reembed import Moved, load_target
from binder.index.store import Record, load_space

__all__ = ["Added", "Hit", "Index", "Moved", "Record", "load_space", "load_target"]
