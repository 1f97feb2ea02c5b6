"""Scenes to cubes to patch records: everything before training. No JAX in here."""
