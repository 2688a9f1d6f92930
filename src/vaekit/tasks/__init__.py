"""The tasks of a trained model: generate, encode, evaluate, score and others."""
