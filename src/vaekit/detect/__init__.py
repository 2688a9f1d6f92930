"""Anomaly detection: scores that add up over the columns, and p-values that keep their promise."""

from vaekit.detect.config import DetectorConfig
from vaekit.detect.detector import PARTS, Detector, fit, p_values
from vaekit.detect.plain import UNSEEN, Plain

__all__ = ["PARTS", "UNSEEN", "Detector", "DetectorConfig", "Plain", "fit", "p_values"]
