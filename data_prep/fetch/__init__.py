"""Scenes of a site from STAC catalogues."""
