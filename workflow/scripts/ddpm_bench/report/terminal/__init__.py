"""Summaries for a terminal."""
