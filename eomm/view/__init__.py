"""An embedding cube as a page that answers: one self-contained file, or the same page served on loopback.

Rooms: `run` (write_view), `layers` (what a page may ask for), `content` (what it is told first), `budget` (what fits
into a file), `figures` (Bokeh), `html` (the text; with view.html, view.css and what runs in the browser: layers.js,
maps.js, picks.js, view.js), `serve`.

Stands beside `eomm.export`, for it gives a store away in a form of another program, here a browser. No JAX.

Words: a *layer* is an array [date, channel, y, x] beside or of the vectors; a *block* is a layer at one date, or up to
eight numbers of its vectors; a *pick* is what a reader of the page has chosen, a pixel or a polygon.
"""
