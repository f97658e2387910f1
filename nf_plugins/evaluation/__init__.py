"""Protocols: masked image metrics, Chamfer distances, tables per time and camera."""
