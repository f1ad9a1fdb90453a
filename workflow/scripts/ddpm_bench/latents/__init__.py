"""Encoding of images as latents, and their decoding."""
