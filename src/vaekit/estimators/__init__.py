"""Models as scikit-learn estimators: fit on a frame or an array, no files, no command line."""

from vaekit.estimators.synthesizer import VAESynthesizer

__all__ = ["VAESynthesizer"]
