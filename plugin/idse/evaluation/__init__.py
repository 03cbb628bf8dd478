"""Task metrics, rate-distortion comparisons and tables."""
