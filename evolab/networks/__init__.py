"""Networks that map [P, B, ...] to [P, B, ...]; base.py is the contract."""
