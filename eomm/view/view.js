"use strict";
// What the page does. Its numbers are layers, typed arrays [channel, y, x] of a date in a window of the grid, as stored;
// `about` (content.py) says what they mean. Figures are Bokeh's (figures.py), known by their names.

const element = (id) => document.getElementById(id);
const parsed = (id) => JSON.parse(element(id).textContent);
const about = parsed("about");
const TYPES = { int8: Int8Array, uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array };
const COUNT = about.dates.length, LENGTH = about.vectors.length;
const [STEP_X, , LEFT, , STEP_Y, TOP] = about.transform;
const DAYS = about.dates.map((d) => Date.parse(d));
const NOTHING = 0xffe4e0dc, WHITE = 0xffffffff; // colours are ABGR
const sum = (values) => values.reduce((a, b) => a + b, 0);
const quantile = (sorted, share) => sorted[Math.round(share * (sorted.length - 1))];

// ---- Where layers come from: the page itself, or the server that gave it -------------------------------------------

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
  const text = atob(element(id).textContent), packed = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) packed[i] = text.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function fromPage(layer, date, w) {
  const { dtype, channels } = about.layers[layer];
  const all = await remember(`${layer} ${date}`, async () => {
    const parts = [];
    for (let part = 0; element(`${layer}-${date}-${part}`); part++) parts.push(await unpacked(`${layer}-${date}-${part}`));
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
  const size = about.layers[layer].channels * w.rows * w.cols, all = await fromServer(layer, 0, COUNT, w);
  return DAYS.map((_, date) => all.subarray(date * size, (date + 1) * size));
}

// ---- Numbers ---------------------------------------------------------------------------------------------------------

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
  const dot = new Float32Array(n), square = new Float32Array(n);
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

/** What a pick shows at a date: means over its pixels, of each layer over those that have it. */
function summary(layers, pixels, n) {
  const mean = (value) => {
    const values = pixels.map(value).filter((v) => v !== null);
    return values.length ? sum(values) / values.length : null;
  };
  const { vectors, bands, flags, error } = layers;
  const stored = pixels.filter((p) => vectors[p] !== NO_VECTOR);
  const vector = stored.length ? SCALE.map((s, f) => (s * sum(stored.map((p) => vectors[f * n + p]))) / stored.length) : null;
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
    error: error && mean((p) => (error[p] === 65535 ? null : error[p] * about.error.scale)),
  };
}

// ---- State: what is shown and chosen -----------------------------------------------------------------------------------

const state = { date: about.clear.indexOf(Math.max(...about.clear)), window: null, picks: {}, drawing: [], drawn: {}, turn: 0 };
let bokeh; // its document
const model = (name) => bokeh.get_model_by_name(name);
const show = (name, data) => (model(name).data = data);
const mode = () => document.querySelector("input[name=pick]:checked").value;

/** Count what is going on in the page's `data-busy`, and tell what goes wrong. */
async function busy(work) {
  const count = (by) => (document.body.dataset.busy = Number(document.body.dataset.busy) + by);
  count(1);
  try {
    await work();
  } catch (error) {
    element("place").textContent = `Something went wrong: ${error.message}`;
    throw error;
  } finally {
    count(-1);
  }
}

// ---- Maps --------------------------------------------------------------------------------------------------------------

const abgr = (r, g, b) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
const ofHex = (hex) => abgr(...[1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)));
const PALETTE = about.palette.map(ofHex);
const byte = (value, [low, high]) => Math.max(0, Math.min(255, Math.round((255 * (value - low)) / Math.max(high - low, 1e-9))));
const inPalette = (values, range) => (p) => (Number.isNaN(values[p]) ? NOTHING : PALETTE[byte(values[p], range)]);

/** The pixels that are asked for: all of them in a page, of a server at most about.side rows and columns of the view. */
function wholeWindow() {
  const { height, width, side } = about;
  if (!about.server) return { row: 0, col: 0, rows: height, cols: width, step: 1 };
  const [x, y] = [model("x"), model("y")];
  const within = (value, size) => Math.max(0, Math.min(size, value));
  const span = (range, origin, step, size) => {
    const [low, high] = [range.start, range.end].map((value) => (value - origin) / step).sort((a, b) => a - b);
    return [within(Math.floor(low), size), within(Math.ceil(high), size)];
  };
  const [col, right] = span(x, LEFT, STEP_X, width), [row, below] = span(y, TOP, STEP_Y, height);
  const step = Math.max(1, Math.ceil(Math.max(right - col, below - row) / side));
  return { row, col, rows: Math.max(1, Math.ceil((below - row) / step)), cols: Math.max(1, Math.ceil((right - col) / step)), step };
}

/** Paint a map: a colour for each pixel, and over it the flags that are marked. */
function paint(name, flags, colour) {
  const { row, col, rows, cols, step } = state.window;
  const marked = about.flags.filter((f) => element(`flag-${f.name}`).checked).map((f) => [f.bit, ofHex(f.color)]);
  const pixels = new Uint32Array(rows * cols);
  for (let p = 0; p < pixels.length; p++) {
    pixels[p] = colour(p);
    for (const [bit, mark] of marked) {
      if (!(flags[p] & bit)) continue;
      if (bit === clouded || ((p % cols) + Math.floor(p / cols)) % 3 === 0) pixels[p] = mark; // others as stripes
    }
  }
  const { ndarray } = Bokeh.require("core/util/ndarray");
  const image = ndarray(pixels, { dtype: "uint32", shape: [rows, cols] });
  const box = { x: [LEFT + col * STEP_X], y: [TOP + row * STEP_Y], dw: [cols * step * Math.abs(STEP_X)], dh: [rows * step * Math.abs(STEP_Y)] };
  show(`image-${name}`, { image: [image], ...box });
}

async function drawMaps() {
  const turn = ++state.turn, w = state.window, n = w.rows * w.cols, date = state.date;
  const [vectors, flags, bands] = await Promise.all(
    ["vectors", "flags", "bands"].map((layer) => about.layers[layer] && read(layer, date, w)),
  );
  if (turn !== state.turn) return; // something newer is on its way
  if (bands) {
    const { colour, missing, range } = about.bands;
    const part = (p, k) => byte(physical(bands[colour[k] * n + p], colour[k]), range);
    paint("colour", flags, (p) => (bands[p] === missing ? NOTHING : abgr(part(p, 0), part(p, 1), part(p, 2))));
  }
  const shown = element("shown").value, range = about.vectors.range;
  const parts = COMPONENTS.map((_, k) => component(vectors, n, k));
  if (shown === "all") {
    const part = (p, k) => (parts[k] ? byte(parts[k][p], range[k]) : 0);
    paint("embedding", flags, (p) => (vectors[p] === NO_VECTOR ? NOTHING : abgr(part(p, 0), part(p, 1), part(p, 2))));
  } else paint("embedding", flags, inPalette(parts[shown], range[shown]));
  embeddingLegend(shown);
  const answer = await answerMap(element("question").value, w, n, turn);
  if (turn !== state.turn) return;
  const known = answer.values.filter((v) => !Number.isNaN(v)).sort();
  const ends = known.length ? [quantile(known, 0.02), answer.top ?? quantile(known, 0.98)] : [0, 1];
  paint("answer", flags, inPalette(answer.values, ends));
  paletteLegend("answer", ends, `${answer.words} ${known.length ? "" : "Nothing to show at this date."}`);
  state.drawn = { flags, answer: answer.values };
}

/** Values of the third map, what they are, and the top of their colours where it is fixed. */
async function answerMap(question, w, n, turn) {
  if (question === "error") {
    const raw = await read("error", state.date, w);
    const values = Float32Array.from(raw, (v) => (v === 65535 ? NaN : v * about.error.scale));
    return { values, words: `Error (${about.error.unit}) to expect of predicting the pixel and date, were they hidden.` };
  }
  const A = state.picks.A;
  if (!A) return { values: new Float32Array(n).fill(NaN), words: "Click a pixel." };
  if (question === "then") {
    const total = new Float32Array(n), count = new Uint16Array(n);
    for (let date = 0; date < COUNT && turn === state.turn; date++) {
      if (!A.series[date].vector) continue;
      cosine(await read("vectors", date, w), n, A.series[date].vector).forEach((v, p) => {
        if (!Number.isNaN(v)) (total[p] += v), count[p]++;
      });
    }
    const words = "Cosine of the vectors of A and the pixel, mean over the dates at which both have one.";
    return { values: total.map((v, p) => (count[p] ? v / count[p] : NaN)), words, top: 1 };
  }
  const near = DAYS.map((day, date) => [Math.abs(day - DAYS[state.date]), date]).sort((a, b) => a[0] - b[0]);
  const found = near.map(([, date]) => date).find((date) => A.series[date].vector);
  if (found === undefined) return { values: new Float32Array(n).fill(NaN), words: "A has no vector on any date." };
  const values = cosine(await read("vectors", state.date, w), n, A.series[found].vector);
  const words = found === state.date ? "" : ` A has none here: that of ${dayOf(found)} is taken.`;
  return { values, words: `Cosine of the vectors of A and the pixel on this date.${words}`, top: 1 };
}

const made = (tag, text, properties = {}) => Object.assign(document.createElement(tag), { textContent: text, ...properties });

function paletteLegend(name, [low, high], words) {
  const bar = made("span", "", { className: "bar" }), ramp = made("i", "");
  ramp.style.background = `linear-gradient(90deg, ${about.palette.filter((_, i) => i % 15 === 0).join(",")})`;
  bar.append(made("span", low.toFixed(3)), ramp, made("span", high.toFixed(3)));
  element(`legend-${name}`).replaceChildren(bar, words);
}

function embeddingLegend(shown) {
  const share = about.vectors.explained.map((v) => `${Math.round(100 * v)} %`);
  if (shown !== "all") return paletteLegend("embedding", about.vectors.range[shown], `${share[shown]} of the variance; one scale for all dates.`);
  const names = ["Red", "green", "blue"].slice(0, share.length).join(", ");
  element("legend-embedding").textContent = `${names}: components 1 to ${share.length}, ${share.join(", ")} of the variance; one scale for all dates.`;
}

// ---- Picks and their series ----------------------------------------------------------------------------------------------

const pixelAt = (x, y) => ({ row: Math.floor((y - TOP) / STEP_Y), col: Math.floor((x - LEFT) / STEP_X) });
const centre = (row, col) => [LEFT + (col + 0.5) * STEP_X, TOP + (row + 0.5) * STEP_Y];
const onSite = ({ row, col }) => row >= 0 && col >= 0 && row < about.height && col < about.width;

/** Choose pixels [row, col] of a window as a pick, and show its series. */
async function choose(name, pick) {
  const layers = Object.keys(about.layers), n = pick.window.rows * pick.window.cols;
  const all = await Promise.all(layers.map((layer) => readAll(layer, pick.window)));
  pick.series = DAYS.map((_, date) => summary(Object.fromEntries(layers.map((l, i) => [l, all[i][date]])), pick.pixels, n));
  state.picks[name] = pick;
  drawPicks();
  drawSeries();
  if (name === "A") await drawMaps();
}

function choosePixel(name, row, col) {
  return choose(name, { row, col, pixels: [0], window: { row, col, rows: 1, cols: 1, step: 1 } });
}

async function choosePolygon(points) {
  const inside = (x, y) =>
    points.reduce((odd, [x1, y1], i) => {
      const [x2, y2] = points[(i + 1) % points.length];
      return y1 > y !== y2 > y && x < ((x2 - x1) * (y - y1)) / (y2 - y1) + x1 ? !odd : odd;
    }, false);
  const at = points.map(([x, y]) => pixelAt(x, y));
  const span = (key, size) => [Math.max(0, Math.min(...at.map((p) => p[key]))), Math.min(size - 1, Math.max(...at.map((p) => p[key])))];
  const [row, below] = span("row", about.height), [col, right] = span("col", about.width);
  const step = about.server ? Math.max(1, Math.ceil(Math.sqrt(((below - row + 1) * (right - col + 1)) / 4096))) : 1;
  const w = { row, col, rows: Math.ceil((below - row + 1) / step), cols: Math.ceil((right - col + 1) / step), step };
  const pixels = [...Array(Math.max(0, w.rows * w.cols)).keys()].filter((p) =>
    inside(...centre(row + Math.floor(p / w.cols) * step, col + (p % w.cols) * step)),
  );
  if (!pixels.length) return void (element("place").textContent = "The polygon holds no pixel's centre: draw a larger one.");
  await choose("polygon", { points, pixels, window: w });
}

function drawPicks() {
  for (const name of ["A", "B"]) {
    const pick = state.picks[name];
    const [x, y] = pick ? centre(pick.row, pick.col).map((v) => [v]) : [[], []];
    show(`${name}-marks`, { x, y });
  }
  const points = state.drawing.length ? state.drawing : (state.picks.polygon?.points ?? []);
  const closed = state.drawing.length ? points : [...points, ...points.slice(0, 1)];
  show("polygon-marks", { x: state.drawing.map((p) => p[0]), y: state.drawing.map((p) => p[1]) });
  show("polygon-outline", { xs: points.length ? [closed.map((p) => p[0])] : [], ys: points.length ? [closed.map((p) => p[1])] : [] });
  element("finish").hidden = mode() !== "polygon" || !state.drawing.length;
  element("finish").disabled = state.drawing.length < 3;
  element("clear").hidden = !(state.picks.B || state.picks.polygon);
}

/** What the first chart shows of a pick at a date. */
function observed(pick, date) {
  const key = element("band").value, at = pick.series[date];
  if (key === "ndvi") return at.ndvi;
  if (key === "like") return at.vector && state.picks.A?.series[date].vector ? cosineOf(at.vector, state.picks.A.series[date].vector) : null;
  return at.bands[Number(key)];
}

function drawSeries() {
  const values = { observed, error: (pick, date) => pick.series[date].error };
  COMPONENTS.forEach((_, k) => (values[`component${k}`] = (pick, date) => pick.series[date].components?.[k] ?? null));
  for (const [chart, value] of Object.entries(values)) {
    if (!model(`${chart}-range`)) continue;
    const seen = [];
    for (const name of ["A", "B", "polygon"]) {
      const pick = state.picks[name];
      const points = pick ? DAYS.map((day, date) => [day, value(pick, date), about.dates[date]]).filter(([, v]) => v !== null) : [];
      show(`${chart}-${name}`, { x: points.map((p) => p[0]), y: points.map((p) => p[1]), date: points.map((p) => p[2]) });
      seen.push(...points.map((p) => p[1]));
    }
    const [low, high] = seen.length ? [Math.min(...seen), Math.max(...seen)] : [0, 1], margin = 0.07 * (high - low) || 0.1;
    Object.assign(model(`${chart}-range`), { start: low - margin, end: high + margin });
  }
  element("chosen").replaceChildren(
    ...Object.entries(state.picks).map(([name, pick]) => {
      const item = made("li", "", { className: name });
      item.append(made("b", { A: "\u25cf A", B: "\u25a0 B", polygon: "\u25b2 polygon" }[name]), wordsOf(pick));
      return item;
    }),
  );
}

function wordsOf(pick) {
  const have = pick.series.filter((s) => s.vector).length, dates = `vectors on ${have} of ${COUNT} dates`;
  if (!pick.points) return `row ${pick.row}, column ${pick.col}; ${placeWords(...centre(pick.row, pick.col))}; ${dates}`;
  const every = pick.window.step > 1 ? `, every ${pick.window.step}th row and column` : "";
  return `mean of ${pick.pixels.length} pixels${every}; ${dates}`;
}

// ---- Words: dates, places, what lies under the pointer -------------------------------------------------------------------

const dayOf = (date) => new Date(DAYS[date]).toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric", timeZone: "UTC" });

/** Coordinates, and where the position is known degrees, between the nodes of about.degrees. */
function placeWords(x, y) {
  const metres = `${x.toFixed(0)}, ${y.toFixed(0)} m`;
  if (!about.degrees) return metres;
  const { lon, lat } = about.degrees, last = lon.length - 1;
  const at = (v, origin, step, size) => (last * (v - origin)) / (step * size);
  const [u, v] = [at(x, LEFT, STEP_X, about.width), at(y, TOP, STEP_Y, about.height)];
  const [i, j] = [v, u].map((value) => Math.max(0, Math.min(last - 1, Math.floor(value))));
  const between = (nodes) =>
    (1 - v + i) * ((1 - u + j) * nodes[i][j] + (u - j) * nodes[i][j + 1]) + (v - i) * ((1 - u + j) * nodes[i + 1][j] + (u - j) * nodes[i + 1][j + 1]);
  const half = (value, positive, negative) => `${Math.abs(value).toFixed(5)}\u00b0 ${value < 0 ? negative : positive}`;
  return `${half(between(lat), "N", "S")} ${half(between(lon), "E", "W")} (${metres})`;
}

function hover(event, map) {
  const { row, col } = pixelAt(event.x, event.y), w = state.window, tip = element("tip");
  const [y, x] = [Math.floor((row - w.row) / w.step), Math.floor((col - w.col) / w.step)];
  if (!onSite({ row, col }) || !state.drawn.flags || y < 0 || x < 0 || y >= w.rows || x >= w.cols) return void (tip.hidden = true);
  const p = y * w.cols + x, carried = about.flags.filter((f) => state.drawn.flags[p] & f.bit).map((f) => f.name);
  const answer = state.drawn.answer[p], question = element("question").selectedOptions[0].textContent;
  const lines = [dayOf(state.date), placeWords(...centre(row, col)), `row ${row}, column ${col}`, `flags: ${carried.join(", ") || "none"}`];
  if (!Number.isNaN(answer)) lines.push(`${question}: ${answer.toFixed(4)}`);
  tip.textContent = lines.join("\n");
  tip.hidden = false;
  const box = element(map).getBoundingClientRect(), { offsetWidth: wide, offsetHeight: high } = tip;
  tip.style.left = `${Math.max(4, Math.min(box.left + event.sx + 14, innerWidth - wide - 6))}px`;
  tip.style.top = `${box.top + event.sy + 18 + high > innerHeight ? box.top + event.sy - high - 10 : box.top + event.sy + 18}px`;
}

// ---- Controls ---------------------------------------------------------------------------------------------------------------

function setDate(date) {
  state.date = (date + COUNT) % COUNT;
  element("slider").value = state.date;
  element("date").textContent = dayOf(state.date);
  const time = about.times[state.date].slice(11, 16);
  element("date-about").textContent = `${time ? `${time} UTC, ` : ""}${Math.round(100 * about.clear[state.date])} % clear, date ${state.date + 1} of ${COUNT}`;
  [...element("strip").children].forEach((bar, i) => bar.classList.toggle("now", i === state.date));
  bokeh.roots().flatMap((root) => root.center).filter((m) => m.name === "now").forEach((m) => (m.location = DAYS[state.date]));
  return busy(drawMaps);
}

const nearestDate = (time) => DAYS.reduce((best, day, i) => (Math.abs(day - time) < Math.abs(DAYS[best] - time) ? i : best), 0);

function tapped(event) {
  const at = pixelAt(event.x, event.y), name = event.modifiers?.shift ? "B" : mode();
  if (!onSite(at)) return;
  if (name !== "polygon") return void busy(() => choosePixel(name, at.row, at.col));
  state.drawing.push([event.x, event.y]);
  drawPicks();
}

function finish() {
  const points = state.drawing;
  state.drawing = [];
  if (points.length > 2) busy(() => choosePolygon(points));
  drawPicks();
}

function zoom(factor) {
  for (const range of [model("x"), model("y")]) {
    const middle = (range.start + range.end) / 2, half = ((range.end - range.start) / 2) * factor;
    Object.assign(range, { start: middle - half, end: middle + half });
  }
}

let playing = null;
function play() {
  clearInterval(playing);
  playing = playing ? null : setInterval(() => setDate(state.date + 1), 700);
  element("play").textContent = playing ? "Stop" : "Play";
  element("play").setAttribute("aria-pressed", String(Boolean(playing)));
}

// ---- Saving -------------------------------------------------------------------------------------------------------------------

function save(blob, ending) {
  const link = made("a", "", { href: URL.createObjectURL(blob), download: `${about.site.replace(/[^\w-]+/g, "_")}_${ending}` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

const cell = (value) => {
  const text = value === null || value === undefined ? "" : String(value);
  const tame = /^[=+@\t\r]|^-(?![\d.])/.test(text) ? `'${text}` : text; // no spreadsheet takes it for a formula
  return /[",\n\r]/.test(tame) ? `"${tame.replaceAll('"', '""')}"` : tame;
};

/** All series as rows of text, a row for each pick and date. */
function table() {
  const bands = about.bands?.names ?? [], parts = COMPONENTS.map((_, k) => `component_${k + 1}`);
  const lines = [["pick", "row", "col", "x", "y", "pixels", "date", "clear", "flags", "ndvi", ...bands, ...parts, "expected_error", "likeness_to_A"]];
  for (const [name, pick] of Object.entries(state.picks)) {
    const place = pick.points ? ["", "", "", ""] : [pick.row, pick.col, ...centre(pick.row, pick.col)];
    pick.series.forEach((at, date) => {
      const A = state.picks.A?.series[date].vector, like = at.vector && A ? cosineOf(at.vector, A) : null;
      const values = [at.ndvi, ...(at.bands ?? []), ...(at.components ?? parts.map(() => null)), at.error, like];
      lines.push([name, ...place, pick.pixels.length, about.dates[date], at.clear, at.flags.join(" "), ...values]);
    });
  }
  return lines.map((line) => line.map(cell).join(",")).join("\r\n") + "\r\n";
}

/** Maps and charts as one picture, as they are on the page. */
function picture() {
  const shown = [...document.querySelectorAll(".plot")].filter((e) => e.offsetParent);
  const frames = shown.map((e) => ({ box: e.getBoundingClientRect(), head: e.parentElement.querySelector("h2"), id: e.id }));
  const left = Math.min(...frames.map((f) => f.box.left)), top = Math.min(...frames.map((f) => f.box.top)) - 84;
  const right = Math.max(...frames.map((f) => f.box.right)), bottom = Math.max(...frames.map((f) => f.box.bottom));
  const ratio = Math.max(2, devicePixelRatio), canvas = made("canvas", "", { width: (right - left + 24) * ratio, height: (bottom - top + 24) * ratio });
  const ink = canvas.getContext("2d");
  ink.scale(ratio, ratio);
  ink.fillStyle = "#fff";
  ink.fillRect(0, 0, canvas.width, canvas.height);
  ink.fillStyle = "#1b1f24";
  ink.font = "600 18px system-ui, sans-serif";
  ink.fillText(`${about.site}, ${dayOf(state.date)}${about.simulated ? " (SIMULATED)" : ""}`, 12, 28);
  ink.font = "13px system-ui, sans-serif";
  ink.fillText(Object.entries(state.picks).map(([name, pick]) => `${name}: ${wordsOf(pick)}`).join("     "), 12, 48);
  for (const { box, head, id } of frames) {
    const option = head.querySelector("select")?.selectedOptions[0].textContent;
    ink.fillText([head.querySelector("label")?.firstChild.textContent.trim() ?? head.textContent, option].filter(Boolean).join(": "), box.left - left + 12, box.top - top + 4);
    const view = Bokeh.index.get_by_id(parsed("figures").roots[id]);
    ink.drawImage(view.export("png", true).canvas, box.left - left + 12, box.top - top + 12, box.width, box.height);
  }
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

// ---- The page begins -------------------------------------------------------------------------------------------------------------

function fill(select, options) {
  element(select).replaceChildren(...options.map(([value, text]) => made("option", text, { value })));
}

function write() {
  const { length, all } = about.vectors, resolution = Math.abs(STEP_X);
  element("title").textContent = `Embedding of ${about.site}`;
  element("simulated").hidden = !about.simulated;
  element("subtitle").textContent =
    `${about.all_dates} dates from ${dayOf(0)} to ${dayOf(COUNT - 1)}; ${about.height} \u00d7 ${about.width} pixels of ${resolution} m` +
    `${about.crs ? `, ${about.crs}` : ""}; ${all} numbers for each pixel and date${about.model ? `; model ${about.model}` : ""}`;
  element("left-out").hidden = !about.left_out.length;
  element("left-out").textContent = `To stay below 25 MB this page holds ${about.left_out.join(" and ")}. All of it: eomm view --serve.`;
  element("card-colour").hidden = !about.bands;
  element("maps").classList.toggle("two", !about.bands);
  element("card-error").hidden = !about.error;
  element("card-observed").classList.toggle("alone", !about.error);
  COMPONENTS.length < 3 && [1, 2].slice(COMPONENTS.length - 1).forEach((k) => (element(`card-component${k}`).hidden = true));
  if (about.bands) {
    const { names, units, colour, range } = about.bands;
    element("legend-colour").textContent = `${colour.map((i) => names[i]).join(", ")} as red, green, blue; ${range.map((v) => v.toPrecision(2)).join(" to ")} ${units[colour[0]]} on all dates.`;
  }
  fill("shown", [["all", "components 1\u20133"], ...COMPONENTS.map((_, k) => [k, `component ${k + 1}`])]);
  fill("question", [["now", "at this date"], ["then", "through time"], ...(about.error ? [["error", "expected error instead"]] : [])]);
  const bands = about.bands ? about.bands.names.map((name, i) => [i, `${name} (${about.bands.units[i]})`]) : [];
  fill("band", [...(about.bands?.ndvi ? [["ndvi", "NDVI"]] : []), ...bands, ["like", "likeness to A"]]);
  for (const flag of about.flags) {
    const label = made("label", "", { title: flag.meaning }), chip = made("span", "", { className: "chip" });
    chip.style.background = flag.color;
    label.append(made("input", "", { type: "checkbox", id: `flag-${flag.name}`, checked: flag.name === "clouded" }), chip, flag.name);
    element("flags").append(label);
  }
  about.clear.forEach((share, i) => {
    const bar = made("i", "", { title: `${about.dates[i]}: ${Math.round(100 * share)} % clear` });
    bar.style.height = `${100 * share}%`;
    const year = about.dates[i].slice(0, 4);
    if (i === 0 || year !== about.dates[i - 1].slice(0, 4)) bar.dataset.year = year;
    element("strip").append(bar);
  });
  element("slider").max = COUNT - 1;
  for (const [word, meaning] of about.words) element("words").append(made("dt", word), made("dd", meaning));
}

function listen() {
  const on = (id, event, action) => element(id).addEventListener(event, action);
  on("slider", "input", (e) => setDate(Number(e.target.value)));
  on("before", "click", () => setDate(state.date - 1));
  on("after", "click", () => setDate(state.date + 1));
  on("play", "click", play);
  on("strip", "click", (e) => e.target.tagName === "I" && setDate([...element("strip").children].indexOf(e.target)));
  for (const id of ["shown", "question", "flags"]) on(id, "change", () => busy(drawMaps));
  on("band", "change", drawSeries);
  on("picks", "change", () => ((state.drawing = []), drawPicks()));
  on("finish", "click", finish);
  on("clear", "click", () => (delete state.picks.B, delete state.picks.polygon, drawPicks(), drawSeries()));
  on("closer", "click", () => zoom(0.6));
  on("wider", "click", () => zoom(1 / 0.6));
  on("all", "click", () => ["x", "y"].forEach((name) => Object.assign(model(name), whole[name])));
  on("csv", "click", () => save(new Blob([table()], { type: "text/csv" }), "series.csv"));
  on("png", "click", () => busy(async () => save(await picture(), `${about.dates[state.date]}.png`)));
  const whole = Object.fromEntries(["x", "y"].map((name) => [name, { start: model(name).start, end: model(name).end }]));
  let later;
  const moved = () => {
    clearTimeout(later);
    later = setTimeout(() => ((state.window = wholeWindow()), busy(drawMaps)), 250);
  };
  if (about.server) for (const range of ["x", "y"]) for (const end of ["start", "end"]) model(range).properties[end].change.connect(moved);
  for (const root of bokeh.roots()) {
    if (!root.name.startsWith("map-")) {
      root.on_event("tap", (event) => setDate(nearestDate(event.x)));
      continue;
    }
    root.on_event("tap", tapped);
    root.on_event("doubletap", () => mode() === "polygon" && finish());
    root.on_event("mousemove", (event) => hover(event, root.name));
    root.on_event("mouseleave", () => (element("tip").hidden = true));
    if (matchMedia("(max-width: 760px)").matches) root.toolbar.tools.forEach((tool) => (tool.active = false)); // so that a finger scrolls the page
  }
}

async function begin() {
  write();
  const { document: json, item, roots } = parsed("figures");
  const places = Object.fromEntries(Object.entries(roots).filter(([name]) => element(name)).map(([name, id]) => [id, element(name)]));
  await Bokeh.embed.embed_items({ page: json }, [{ ...item, docid: "page", roots: places }]);
  bokeh = Bokeh.documents.at(-1);
  state.window = wholeWindow();
  listen();
  await setDate(state.date);
  await busy(() => choosePixel("A", Math.floor(about.height / 2), Math.floor(about.width / 2)));
  document.body.dataset.busy = Number(document.body.dataset.busy) - 1; // which was 1 from the start
}

begin();
