"""Models as scikit-learn estimators: fit on a frame or an array, no files, no command line."""

from vaekit.estimators.detector import VAEDetector

__all__ = ["VAEDetector"]
