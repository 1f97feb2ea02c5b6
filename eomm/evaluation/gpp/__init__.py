"""Gross primary production of flux towers from embeddings or any table, folds by site and year."""
