"""Probes: how well labels are told from frozen vectors, with whole fields, blocks or sites held out."""
