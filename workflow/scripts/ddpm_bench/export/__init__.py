"""The best checkpoint, exported for others."""
