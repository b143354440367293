"""Mutations, one file each; `mutations.py` is the contract and draws the kind."""
