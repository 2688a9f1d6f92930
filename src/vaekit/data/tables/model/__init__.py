"""What rows are modelled with: likelihoods, networks, bins of numbers."""
