"""Datasets, pixel samplers, datamanagers, camera conventions, writers and the synthetic scene."""
