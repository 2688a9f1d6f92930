"""Models as scikit-learn estimators: fit on a frame or an array, no files, no command line."""

from vaekit.estimators.detector import VAEDetector
from vaekit.estimators.synthesizer import VAESynthesizer
from vaekit.estimators.transformer import VAETransformer

__all__ = ["VAEDetector", "VAESynthesizer", "VAETransformer"]
