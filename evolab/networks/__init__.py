"""The shelf of networks; `network.py` is the contract."""
