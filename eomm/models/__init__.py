"""Networks, one file each. What they share is the encoder interface, in `interface.py`."""
