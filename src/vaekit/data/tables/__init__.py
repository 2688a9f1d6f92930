"""Tables: where they come from, how they become tensors, how they go back, how they are written."""
