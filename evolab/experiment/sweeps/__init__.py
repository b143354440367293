"""Sweeps: many runs that do not speak to each other, by seeds and settings, in one folder."""
