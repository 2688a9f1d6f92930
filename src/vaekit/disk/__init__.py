"""The files of a run: checkpoints, the log, the lock, and the names of all files."""
