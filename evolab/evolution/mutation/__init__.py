"""The shelf of mutations, one file each; `mutation.py` is the contract."""
