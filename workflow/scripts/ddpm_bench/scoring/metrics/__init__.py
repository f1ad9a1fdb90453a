"""Metrics from features to scores."""
