"""The kinds of data: where data come from, how they become tensors, and how tensors become data again."""
