"""The parts of a model of rows: likelihoods, networks, and bins of numbers."""
