"""What is known of sensors and what lies prepared on disk: contracts, cubes, patch records. No JAX.

Rooms: `modality` (bands, units, contracts), `cube`, `records`, `batches` (the Grain pipeline), `remote` (buckets),
`held_out` (what a record set kept from training) and `coverage` (where its sites lie).

Words: an *acquisition* is one date of one modality at one site; a *cube* all acquisitions of a site on one grid; a
*patch* a window of a cube cut for training; a *record* a patch as bytes; an acquisition is *usable* where at least 3 %
of the site are clear; a *static* modality has one acquisition and no date.
"""
