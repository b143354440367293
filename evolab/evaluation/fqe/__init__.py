"""Fitted Q evaluation: returns estimated from recorded data."""
