"""One training run: its events, how long it takes, and where it stands."""
