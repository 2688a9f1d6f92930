"""What reports are made of: sections of HTML, plots, and sheets of pictures."""
