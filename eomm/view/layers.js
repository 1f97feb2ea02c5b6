"use strict";
// What the page knows and may ask for. Its numbers are layers, typed arrays [channel, y, x] of a date in a window of
// the grid, as stored; `about` (content.py) says what they mean. They come from the page itself, or from its server.

const element = (id) => document.getElementById(id);
const parsed = (id) => JSON.parse(element(id).textContent);
const about = parsed("about");
const TYPES = { int8: Int8Array, uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array };
const COUNT = about.dates.length,
  LENGTH = about.vectors.length;
const [STEP_X, , LEFT, , STEP_Y, TOP] = about.transform;
const DAYS = about.dates.map((d) => Date.parse(d));
const NOTHING = 0xffe4e0dc; // a colour, ABGR
const sum = (values) => values.reduce((a, b) => a + b, 0);
const quantile = (sorted, share) => sorted[Math.round(share * (sorted.length - 1))];

const remembered = new Map();
let bytes = 0;

/** What `make` gives for a key, kept while there is room. */
function remember(key, make) {
  if (!remembered.has(key)) {
    const promise = make().then((array) => {
      bytes += array.byteLength;
      for (const old of remembered.keys()) {
        if (bytes <= about.memory || old === key) break;
        remembered.get(old).then((a) => (bytes -= a.byteLength));
        remembered.delete(old);
      }
      return array;
    });
    remembered.set(key, promise);
  }
  return remembered.get(key);
}

async function unpacked(id) {
  const text = atob(element(id).textContent),
    packed = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) packed[i] = text.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function fromPage(layer, date, w) {
  const { dtype, channels } = about.layers[layer];
  const all = await remember(`${layer} ${date}`, async () => {
    const parts = [];
    for (let part = 0; element(`${layer}-${date}-${part}`); part++)
      parts.push(await unpacked(`${layer}-${date}-${part}`));
    const joined = new Uint8Array(sum(parts.map((p) => p.length)));
    parts.reduce((at, p) => (joined.set(p, at), at + p.length), 0);
    return new TYPES[dtype](joined.buffer);
  });
  if (w.rows === about.height && w.cols === about.width) return all;
  const cut = new TYPES[dtype](channels * w.rows * w.cols);
  for (let c = 0, at = 0; c < channels; c++)
    for (let y = 0; y < w.rows; y++)
      for (let x = 0; x < w.cols; x++)
        cut[at++] = all[(c * about.height + w.row + y * w.step) * about.width + w.col + x * w.step];
  return cut;
}

async function fromServer(layer, first, last, w) {
  const query = new URLSearchParams({ layer, first, last, ...w });
  const answer = await fetch(`layer?${query}`);
  if (!answer.ok) throw new Error(`the server says: ${await answer.text()}`);
  return new TYPES[about.layers[layer].dtype](await answer.arrayBuffer());
}

/** A layer at a date. */
function read(layer, date, w) {
  if (!about.server) return fromPage(layer, date, w);
  return remember(`${layer} ${date} ${Object.values(w)}`, () => fromServer(layer, date, date + 1, w));
}

/** A layer at every date. */
async function readAll(layer, w) {
  if (!about.server) return Promise.all(DAYS.map((_, date) => fromPage(layer, date, w)));
  const size = about.layers[layer].channels * w.rows * w.cols,
    all = await fromServer(layer, 0, COUNT, w);
  return DAYS.map((_, date) => all.subarray(date * size, (date + 1) * size));
}

// ---- Numbers

const { scale: SCALE, mean: MEAN, components: COMPONENTS, missing: NO_VECTOR } = about.vectors;
const clouded = about.flags.find((f) => f.name === "clouded").bit;

/** The k-th component of n vectors, NaN where there is none. */
function component(vectors, n, k) {
  const found = new Float32Array(n).fill(-sum(MEAN.map((m, f) => m * COMPONENTS[k][f])));
  for (let f = 0; f < LENGTH; f++) {
    const weight = SCALE[f] * COMPONENTS[k][f];
    for (let p = 0; p < n; p++) found[p] += weight * vectors[f * n + p];
  }
  for (let p = 0; p < n; p++) if (vectors[p] === NO_VECTOR) found[p] = NaN;
  return found;
}

/** The cosine of n vectors with one, NaN where there is none. */
function cosine(vectors, n, vector) {
  const dot = new Float32Array(n),
    square = new Float32Array(n);
  for (let f = 0; f < LENGTH; f++) {
    for (let p = 0; p < n; p++) {
      const value = SCALE[f] * vectors[f * n + p];
      dot[p] += value * vector[f];
      square[p] += value * value;
    }
  }
  const length = Math.sqrt(sum(Array.from(vector, (v) => v * v)));
  return dot.map((d, p) => (vectors[p] === NO_VECTOR ? NaN : d / Math.max(length * Math.sqrt(square[p]), 1e-12)));
}

const cosineOf = (a, b) => sum(a.map((v, f) => v * b[f])) / Math.max(Math.hypot(...a) * Math.hypot(...b), 1e-12);
const physical = (raw, band) => raw * about.bands.scale[band] + about.bands.offset[band];
const componentOf = (vector, k) => sum(vector.map((v, f) => (v - MEAN[f]) * COMPONENTS[k][f]));

const toldOf = (raw, step) => (raw === 65535 ? null : raw * step);

/** What a pick shows at a date: means over its pixels, of each layer over those that have it. */
function summary(layers, pixels, n) {
  const mean = (value) => {
    const values = pixels.map(value).filter((v) => v !== null);
    return values.length ? sum(values) / values.length : null;
  };
  const { vectors, bands, flags } = layers;
  const stored = pixels.filter((p) => vectors[p] !== NO_VECTOR);
  const vector = stored.length
    ? SCALE.map((s, f) => (s * sum(stored.map((p) => vectors[f * n + p]))) / stored.length)
    : null;
  const value = (p, band) => (bands[p] === about.bands.missing ? null : physical(bands[band * n + p], band));
  const ndvi = (p) => {
    const [red, infrared] = about.bands.ndvi.map((band) => value(p, band));
    return red === null || infrared + red <= 1e-3 ? null : (infrared - red) / (infrared + red);
  };
  return {
    clear: mean((p) => (flags[p] & clouded ? 0 : 1)),
    flags: about.flags.filter((f) => pixels.some((p) => flags[p] & f.bit)).map((f) => f.name),
    vector,
    components: vector && COMPONENTS.map((_, k) => componentOf(vector, k)),
    bands: bands && about.bands.names.map((_, band) => mean((p) => value(p, band))),
    ndvi: bands && about.bands.ndvi && mean(ndvi),
    told: Object.fromEntries(about.told.map(({ name, step }) => [name, mean((p) => toldOf(layers[name][p], step))])),
  };
}
