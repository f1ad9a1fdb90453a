"""The throughput benchmark of distributed training."""
