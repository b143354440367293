"""The shelf of sources of experience; `source.py` says what experience is made of."""
