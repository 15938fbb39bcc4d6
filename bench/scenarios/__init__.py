"""One small file for each scenario."""
