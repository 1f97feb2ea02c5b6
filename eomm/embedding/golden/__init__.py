"""Golden vectors: a small simulated cube, a tiny model and its embeddings, shipped as data for `eomm verify`.

tests/eomm/embedding/make_golden.py made them. Their numbers are shipped, not the seeds: no random generator has to be
the same everywhere.
"""
