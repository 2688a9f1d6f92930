"""One training run: its events, its duration and its progress."""
