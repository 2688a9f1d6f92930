"""Data on disk, shared by every kind: files too large for memory, caches, reading in parallel."""
