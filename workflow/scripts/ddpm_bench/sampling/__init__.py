"""Drawing of samples from checkpoints."""
