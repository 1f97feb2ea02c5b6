"""Embedding stores in the forms of other tools. `run` picks one; `frames` is what they all read from."""
