"""Measures of a model: bounds, sample quality, use of the latents. Tensors in, numbers out."""
