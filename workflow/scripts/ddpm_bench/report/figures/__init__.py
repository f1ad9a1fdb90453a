"""Figures of one experiment and of several."""
