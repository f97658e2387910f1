"""The nf-* console commands."""
