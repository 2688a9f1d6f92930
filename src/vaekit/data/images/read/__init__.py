"""From files, folders and arrays of pictures to tensors."""
