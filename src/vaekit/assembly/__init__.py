"""From words to objects: the one place where the names in an experiment become models and objectives."""
