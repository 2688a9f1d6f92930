"""From words to objects: here the names in an experiment become models and objectives."""
