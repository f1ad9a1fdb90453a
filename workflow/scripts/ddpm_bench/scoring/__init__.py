"""Scores of images: features, metrics, and their records."""
