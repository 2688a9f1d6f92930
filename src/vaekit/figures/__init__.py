"""The parts of reports: sections of HTML, plots, and sheets of pictures."""
