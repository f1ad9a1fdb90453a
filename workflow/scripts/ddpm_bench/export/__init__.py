"""Export of an experiment's best checkpoint."""
