"""How good a trained model is, and how sure that is: intervals, calibration, probes, robustness."""
