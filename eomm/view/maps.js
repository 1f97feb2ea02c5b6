"use strict";
// The three maps: true colour, the embedding's colours, and what is like a pixel. Bokeh draws them (figures.py).

const abgr = (r, g, b) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
const ofHex = (hex) => abgr(...[1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)));
const PALETTE = about.palette.map(ofHex);
const byte = (value, [low, high]) =>
  Math.max(0, Math.min(255, Math.round((255 * (value - low)) / Math.max(high - low, 1e-9))));
const inPalette = (values, range) => (p) => (Number.isNaN(values[p]) ? NOTHING : PALETTE[byte(values[p], range)]);

/** The pixels that are asked for: all of them in a page; of a server at most about.side rows and columns in view. */
function wholeWindow() {
  const { height, width, side } = about;
  if (!about.server) return { row: 0, col: 0, rows: height, cols: width, step: 1 };
  const [x, y] = [model("x"), model("y")];
  const within = (value, size) => Math.max(0, Math.min(size, value));
  const span = (range, origin, step, size) => {
    const [low, high] = [range.start, range.end].map((value) => (value - origin) / step).sort((a, b) => a - b);
    return [within(Math.floor(low), size), within(Math.ceil(high), size)];
  };
  const [col, right] = span(x, LEFT, STEP_X, width),
    [row, below] = span(y, TOP, STEP_Y, height);
  const step = Math.max(1, Math.ceil(Math.max(right - col, below - row) / side));
  return {
    row,
    col,
    rows: Math.max(1, Math.ceil((below - row) / step)),
    cols: Math.max(1, Math.ceil((right - col) / step)),
    step,
  };
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
  // Bokeh's own array, which has a shape; it exports no other way to make one (3.9). A test drives this line.
  const { ndarray } = Bokeh.require("core/util/ndarray");
  const image = ndarray(pixels, { dtype: "uint32", shape: [rows, cols] });
  const box = {
    x: [LEFT + col * STEP_X],
    y: [TOP + row * STEP_Y],
    dw: [cols * step * Math.abs(STEP_X)],
    dh: [rows * step * Math.abs(STEP_Y)],
  };
  show(`image-${name}`, { image: [image], ...box });
}

async function drawMaps() {
  const turn = ++state.turn,
    w = state.window,
    n = w.rows * w.cols,
    date = state.date;
  const [vectors, flags, bands] = await Promise.all(
    ["vectors", "flags", "bands"].map((layer) => about.layers[layer] && read(layer, date, w)),
  );
  if (turn !== state.turn) return; // something newer is on its way
  if (bands) {
    const { colour, missing, range } = about.bands;
    const part = (p, k) => byte(physical(bands[colour[k] * n + p], colour[k]), range);
    paint("colour", flags, (p) => (bands[p] === missing ? NOTHING : abgr(part(p, 0), part(p, 1), part(p, 2))));
  }
  const shown = element("shown").value,
    range = about.vectors.range;
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
  const told = about.told.find(({ name }) => name === question);
  if (told) {
    const raw = await read(told.name, state.date, w);
    return { values: Float32Array.from(raw, (v) => toldOf(v, told.step) ?? NaN), words: `${told.meaning}.` };
  }
  const A = state.picks.A;
  if (!A) return { values: new Float32Array(n).fill(NaN), words: "Click a pixel." };
  if (question === "then") {
    const total = new Float32Array(n),
      count = new Uint16Array(n);
    for (let date = 0; date < COUNT && turn === state.turn; date++) {
      if (!A.series[date].vector) continue;
      cosine(await read("vectors", date, w), n, A.series[date].vector).forEach((v, p) => {
        if (!Number.isNaN(v)) ((total[p] += v), count[p]++);
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

const made = (tag, text, properties = {}) =>
  Object.assign(document.createElement(tag), { textContent: text, ...properties });

function paletteLegend(name, [low, high], words) {
  const bar = made("span", "", { className: "bar" }),
    ramp = made("i", "");
  ramp.style.background = `linear-gradient(90deg, ${about.palette.filter((_, i) => i % 15 === 0).join(",")})`;
  bar.append(made("span", low.toFixed(3)), ramp, made("span", high.toFixed(3)));
  element(`legend-${name}`).replaceChildren(bar, words);
}

function embeddingLegend(shown) {
  const share = about.vectors.explained.map((v) => `${Math.round(100 * v)} %`);
  if (shown !== "all")
    return paletteLegend(
      "embedding",
      about.vectors.range[shown],
      `${share[shown]} of the variance; one scale for all dates.`,
    );
  const names = ["Red", "green", "blue"].slice(0, share.length).join(", ");
  element("legend-embedding").textContent =
    `${names}: ${share.join(", ")} of the variance; one scale for all dates.`;
}
