"""What a model is worth: bounds, sample quality, use of the latents. Tensors in, numbers out."""
