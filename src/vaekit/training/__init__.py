"""One training step, the loop around it, optimisers, and the engine for devices and precision."""
