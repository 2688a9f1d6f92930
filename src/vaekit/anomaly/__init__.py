"""Anomaly detection: scores that are sums over the columns, and conformal p-values."""

from vaekit.anomaly.config import DetectorConfig
from vaekit.anomaly.ensemble import PARTS, Detector, fit, p_values
from vaekit.anomaly.numeric import UNSEEN, NumericRows

__all__ = ["PARTS", "UNSEEN", "Detector", "DetectorConfig", "NumericRows", "fit", "p_values"]
