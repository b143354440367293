"""Environments whose observations and actions are tokens."""
