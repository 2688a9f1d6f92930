"""What kind of column it is, and its way to tensors and exactly back."""
