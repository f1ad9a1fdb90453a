"""Jobs of a run, their targets, stages and requests: planned without torch, numpy or pandas."""
