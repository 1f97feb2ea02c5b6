"""Coherence: whether near places and near dates have near vectors, beside raw bands and blur."""
