"""Tables and figures of the throughput benchmark."""
