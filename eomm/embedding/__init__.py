"""A trained model and a cube to an embedding for every pixel at every usable date: planned, dense, resumed, described.

Rooms: `run` (embed, open_embedding), `sites` (many cubes), `plan`, `dense`, `units`, `cluster`, `append`, `store`,
`read` and `blocks` (reading a store, whole or piece by piece), `describe` and `stac` (what the store says of itself),
`calibrate` and `expected_error`, `verify` and `golden/` (vectors that tell whether a machine agrees).

Words: the *embedding* is the vector of one *target*, a pixel at an acquisition; a *unit* is a block of pixels at up to
16 dates, the least that is computed and stored.
"""
