"use strict";
// What is chosen, a pixel or a polygon, and its series; places and dates in words.

const pixelAt = (x, y) => ({ row: Math.floor((y - TOP) / STEP_Y), col: Math.floor((x - LEFT) / STEP_X) });
const centre = (row, col) => [LEFT + (col + 0.5) * STEP_X, TOP + (row + 0.5) * STEP_Y];
const onSite = ({ row, col }) => row >= 0 && col >= 0 && row < about.height && col < about.width;

/** Choose pixels [row, col] of a window as a pick, and show its series. */
async function choose(name, pick) {
  const layers = Object.keys(about.layers),
    n = pick.window.rows * pick.window.cols;
  const all = await Promise.all(layers.map((layer) => readAll(layer, pick.window)));
  pick.series = DAYS.map((_, date) =>
    summary(Object.fromEntries(layers.map((l, i) => [l, all[i][date]])), pick.pixels, n),
  );
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
  const span = (key, size) => [
    Math.max(0, Math.min(...at.map((p) => p[key]))),
    Math.min(size - 1, Math.max(...at.map((p) => p[key]))),
  ];
  const [row, below] = span("row", about.height),
    [col, right] = span("col", about.width);
  const step = about.server ? Math.max(1, Math.ceil(Math.sqrt(((below - row + 1) * (right - col + 1)) / 4096))) : 1;
  const w = { row, col, rows: Math.ceil((below - row + 1) / step), cols: Math.ceil((right - col + 1) / step), step };
  const pixels = [...Array(Math.max(0, w.rows * w.cols)).keys()].filter((p) =>
    inside(...centre(row + Math.floor(p / w.cols) * step, col + (p % w.cols) * step)),
  );
  if (!pixels.length)
    return void (element("place").textContent = "The polygon holds no pixel's centre: draw a larger one.");
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
  show("polygon-outline", {
    xs: points.length ? [closed.map((p) => p[0])] : [],
    ys: points.length ? [closed.map((p) => p[1])] : [],
  });
  element("finish").hidden = mode() !== "polygon" || !state.drawing.length;
  element("finish").disabled = state.drawing.length < 3;
  element("clear").hidden = !(state.picks.B || state.picks.polygon);
}

/** What the first chart shows of a pick at a date. */
function observed(pick, date) {
  const key = element("band").value,
    at = pick.series[date];
  if (key === "ndvi") return at.ndvi;
  if (key === "like")
    return at.vector && state.picks.A?.series[date].vector
      ? cosineOf(at.vector, state.picks.A.series[date].vector)
      : null;
  return at.bands[Number(key)];
}

function drawSeries() {
  const values = { observed, told: (pick, date) => pick.series[date].told[element("told").value] ?? null };
  COMPONENTS.forEach((_, k) => (values[`component${k}`] = (pick, date) => pick.series[date].components?.[k] ?? null));
  for (const [chart, value] of Object.entries(values)) {
    if (!model(`${chart}-range`)) continue;
    const seen = [];
    for (const name of ["A", "B", "polygon"]) {
      const pick = state.picks[name];
      const points = pick
        ? DAYS.map((day, date) => [day, value(pick, date), about.dates[date]]).filter(([, v]) => v !== null)
        : [];
      show(`${chart}-${name}`, {
        x: points.map((p) => p[0]),
        y: points.map((p) => p[1]),
        date: points.map((p) => p[2]),
      });
      seen.push(...points.map((p) => p[1]));
    }
    const [low, high] = seen.length ? [Math.min(...seen), Math.max(...seen)] : [0, 1],
      margin = 0.07 * (high - low) || 0.1;
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
  const have = pick.series.filter((s) => s.vector).length,
    dates = `vectors on ${have} of ${COUNT} dates`;
  if (!pick.points)
    return `row ${pick.row}, column ${pick.col}; ${placeWords(...centre(pick.row, pick.col))}; ${dates}`;
  const every = pick.window.step > 1 ? `, every ${pick.window.step}th row and column` : "";
  return `mean of ${pick.pixels.length} pixels${every}; ${dates}`;
}

// ---- Words: dates, places, what lies under the pointer

const dayOf = (date) =>
  new Date(DAYS[date]).toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric", timeZone: "UTC" });

/** Coordinates, and where the position is known degrees, between the nodes of about.degrees. */
function placeWords(x, y) {
  const metres = `${x.toFixed(0)}, ${y.toFixed(0)} m`;
  if (!about.degrees) return metres;
  const { lon, lat } = about.degrees,
    last = lon.length - 1;
  const at = (v, origin, step, size) => (last * (v - origin)) / (step * size);
  const [u, v] = [at(x, LEFT, STEP_X, about.width), at(y, TOP, STEP_Y, about.height)];
  const [i, j] = [v, u].map((value) => Math.max(0, Math.min(last - 1, Math.floor(value))));
  const between = (nodes) =>
    (1 - v + i) * ((1 - u + j) * nodes[i][j] + (u - j) * nodes[i][j + 1]) +
    (v - i) * ((1 - u + j) * nodes[i + 1][j] + (u - j) * nodes[i + 1][j + 1]);
  const half = (value, positive, negative) => `${Math.abs(value).toFixed(5)}\u00b0 ${value < 0 ? negative : positive}`;
  return `${half(between(lat), "N", "S")} ${half(between(lon), "E", "W")} (${metres})`;
}

function hover(event, map) {
  const { row, col } = pixelAt(event.x, event.y),
    w = state.window,
    tip = element("tip");
  const [y, x] = [Math.floor((row - w.row) / w.step), Math.floor((col - w.col) / w.step)];
  if (!onSite({ row, col }) || !state.drawn.flags || y < 0 || x < 0 || y >= w.rows || x >= w.cols)
    return void (tip.hidden = true);
  const p = y * w.cols + x,
    carried = about.flags.filter((f) => state.drawn.flags[p] & f.bit).map((f) => f.name);
  const answer = state.drawn.answer[p],
    question = about.told.find(({ name }) => name === element("question").value)?.label ?? "cosine with A";
  const lines = [
    dayOf(state.date),
    placeWords(...centre(row, col)),
    `row ${row}, column ${col}`,
    `flags: ${carried.join(", ") || "none"}`,
  ];
  if (!Number.isNaN(answer)) lines.push(`${question}: ${answer.toFixed(4)}`);
  tip.textContent = lines.join("\n");
  tip.hidden = false;
  const box = element(map).getBoundingClientRect(),
    { offsetWidth: wide, offsetHeight: high } = tip;
  tip.style.left = `${Math.max(4, Math.min(box.left + event.sx + 14, innerWidth - wide - 6))}px`;
  const below = box.top + event.sy + 18;
  tip.style.top = `${below + high > innerHeight ? below - high - 28 : below}px`;
}
