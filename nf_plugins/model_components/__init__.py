"""Rays to samples to weights to pixels."""
