"""Data on disk, for every kind of data: files too large for memory, caches, reading in parallel."""
