"""Self-contained HTML pages: the report of a run, the hits of a search, the check of a manifest."""
