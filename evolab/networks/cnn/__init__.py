"""Convolutional networks, and what reads images beside other observations."""
