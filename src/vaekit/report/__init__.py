"""Figures and HTML pages about a run."""
