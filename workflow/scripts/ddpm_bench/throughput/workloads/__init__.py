"""Models, batches and losses that the throughput benchmark trains."""
