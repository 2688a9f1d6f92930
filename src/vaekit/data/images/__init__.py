"""Images: how they are read, turned into tensors and back, written and shown."""
