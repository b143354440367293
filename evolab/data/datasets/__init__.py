"""Recorded data, one file a format."""
