"""From vectors to a product: a head fitted on labels or fluxes, and the maps and series that it predicts.

Rooms: `fit` and `predict` (what the commands call), `head` (what is saved), `linear` and `trees` (its forms),
`interval` and `seen` (how sure, and where not at all), `samples`, `labels` and `fluxes` (what it is fitted on),
`fitting`, `maps` and `series` (what it gives), `words` (what that means).

Words: a *head* is a function from one embedding to a number or a class; it is *fitted*, where networks are trained.
What lies *outside* is farther from the vectors it was fitted on than a stated distance.
"""
