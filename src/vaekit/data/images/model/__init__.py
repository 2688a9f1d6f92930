"""What images are modelled with: likelihoods, networks, binarisation."""
