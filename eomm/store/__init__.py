"""How anything of ours appears on disk, and who does the work: atomic folders and locks, workers, progress. No JAX.

Rooms: `folders` (stores whole or not at all, JSON, digests), `notes` (which units of a folder are done), `workers` (one
by one, or Dask), `many` (sites in one folder), `progress`, `log` (what is said meanwhile).
"""
