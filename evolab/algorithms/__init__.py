"""The shelf of algorithms, one file each; `algorithm.py` is the contract."""
