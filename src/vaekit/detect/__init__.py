"""Anomaly detection: scores that add up over the columns, and p-values that keep their promise."""

from vaekit.detect.config import DetectorConfig
from vaekit.detect.detector import PARTS, Detector, fit, p_values

__all__ = ["PARTS", "Detector", "DetectorConfig", "fit", "p_values"]
