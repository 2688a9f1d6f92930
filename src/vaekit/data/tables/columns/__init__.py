"""Infer the kinds of columns, and convert columns to tensors and exactly back."""
