"""Agents that update together: groups, buckets padded alike, gradients, Adam, CUDA graphs."""
