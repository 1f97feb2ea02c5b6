"""Cubes to patch records: splits, windows, shards."""
