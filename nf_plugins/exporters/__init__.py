"""Meshes per time."""
