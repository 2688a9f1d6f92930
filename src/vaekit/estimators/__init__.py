"""VAEs as scikit-learn estimators, fitted to a data frame or an array, without files."""

from vaekit.estimators.detector import VAEDetector
from vaekit.estimators.synthesizer import VAESynthesizer
from vaekit.estimators.transformer import VAETransformer

__all__ = ["VAEDetector", "VAESynthesizer", "VAETransformer"]
