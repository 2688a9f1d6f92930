"""What a run keeps on disk: checkpoints, the log, the lock, and the name of every file."""
