"""Training: objectives, optimiser, averages, checkpoints, exact resume."""
