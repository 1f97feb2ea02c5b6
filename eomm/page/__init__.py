"""HTML pages and the look of figures, shared by every page of ours. No JAX, no data of ours.

Rooms: `html`, `style`, `shown` (what objects say of themselves in Python and in notebooks).
"""
