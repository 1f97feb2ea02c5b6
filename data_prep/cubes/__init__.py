"""Scenes to a cube: overpasses, one grid, masks, offsets, checks."""
