"""Tables of scores, losses, samplers and costs."""
