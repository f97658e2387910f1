"""Layers and encodings: functions of points, times and codes; they know no rays."""
