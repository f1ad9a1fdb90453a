"""Fetching of raw files and preparation of image arrays."""
