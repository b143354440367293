"""Transformers over tokens."""
