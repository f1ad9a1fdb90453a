"""Networks, diffusion processes and their randomness."""
