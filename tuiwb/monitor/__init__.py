"""How a run is doing: its metrics as series, smoothed and thinned for the screen, and the time that is left."""

from tuiwb.monitor.eta import Progress, progress
from tuiwb.monitor.series import AXES, Axis, Curve, PartMetrics, RunMetrics, Series, curve
from tuiwb.monitor.smooth import Ema, ema
from tuiwb.monitor.thin import Bucket, thin

__all__ = [
    "AXES", "Axis", "Bucket", "Curve", "Ema", "PartMetrics", "Progress", "RunMetrics", "Series", "curve",
    "ema", "progress", "thin",
]  # fmt: skip
