"""The modalities: where data comes from, how it becomes tensors, and how it goes back."""
