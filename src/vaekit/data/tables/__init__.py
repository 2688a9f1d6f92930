"""Tables: read them, convert them to tensors and back, and write them."""
