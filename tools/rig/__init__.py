"""Self-calibration offline: simulated takes, measurements, plots."""
