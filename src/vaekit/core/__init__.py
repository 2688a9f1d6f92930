"""A model returns a trace, and an objective computes its cost. All else builds on these two."""
