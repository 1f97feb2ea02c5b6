"use strict";
// The page: what is shown, the controls that change it, saving, and the beginning. Figures are known by their names.

const state = {
  date: about.clear.indexOf(Math.max(...about.clear)),
  window: null,
  picks: {},
  drawing: [],
  drawn: {},
  turn: 0,
};
let bokeh; // its document
const model = (name) => bokeh.get_model_by_name(name);
const show = (name, data) => (model(name).data = data);
const mode = () => document.querySelector("input[name=pick]:checked").value;

/** Count what is going on in the page's `data-busy`, and tell what goes wrong. */
async function busy(work) {
  const count = (by) => (document.body.dataset.busy = Number(document.body.dataset.busy ?? 0) + by);
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

// ---- Controls

function setDate(date) {
  state.date = (date + COUNT) % COUNT;
  element("slider").value = state.date;
  element("date").textContent = dayOf(state.date);
  const time = about.times[state.date].slice(11, 16);
  element("date-about").textContent =
    (time ? `${time} UTC, ` : "") +
    `${Math.round(100 * about.clear[state.date])} % clear, date ${state.date + 1} of ${COUNT}`;
  [...element("strip").children].forEach((bar, i) => bar.classList.toggle("now", i === state.date));
  bokeh
    .roots()
    .flatMap((root) => root.center)
    .filter((m) => m.name === "now")
    .forEach((m) => (m.location = DAYS[state.date]));
  return busy(drawMaps);
}

const nearestDate = (time) =>
  DAYS.reduce((best, day, i) => (Math.abs(day - time) < Math.abs(DAYS[best] - time) ? i : best), 0);

function tapped(event) {
  const at = pixelAt(event.x, event.y),
    name = event.modifiers?.shift ? "B" : mode();
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
    const middle = (range.start + range.end) / 2,
      half = ((range.end - range.start) / 2) * factor;
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

// ---- Saving

const LINE = 18; // px of a picture
const EDGE = 12;

function save(blob, ending) {
  const link = made("a", "", {
    href: URL.createObjectURL(blob),
    download: `${about.site.replace(/[^\w-]+/g, "_")}_${ending}`,
  });
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
  const bands = about.bands?.names ?? [],
    parts = COMPONENTS.map((_, k) => `component_${k + 1}`);
  const lines = [
    [
      "pick",
      "row",
      "col",
      "x",
      "y",
      "pixels",
      "date",
      "clear",
      "flags",
      "ndvi",
      ...bands,
      ...parts,
      ...about.told.map(({ name }) => name),
      "likeness_to_A",
    ],
  ];
  for (const [name, pick] of Object.entries(state.picks)) {
    const place = pick.points ? ["", "", "", ""] : [pick.row, pick.col, ...centre(pick.row, pick.col)];
    pick.series.forEach((at, date) => {
      const A = state.picks.A?.series[date].vector,
        like = at.vector && A ? cosineOf(at.vector, A) : null;
      const values = [
        at.ndvi,
        ...(at.bands ?? []),
        ...(at.components ?? parts.map(() => null)),
        ...Object.values(at.told),
        like,
      ];
      lines.push([name, ...place, pick.pixels.length, about.dates[date], at.clear, at.flags.join(" "), ...values]);
    });
  }
  return lines.map((line) => line.map(cell).join(",")).join("\r\n") + "\r\n";
}

/** Maps and charts as one picture: in rows as on the page, each with its heading above and its legend below. */
function picture() {
  const frames = [...document.querySelectorAll(".plot")].filter((e) => e.offsetParent);
  const boxes = frames.map((e) => e.getBoundingClientRect());
  const rows = [];
  frames.forEach((frame, i) => {
    const near = rows.find((row) => Math.abs(boxes[row[0]].top - boxes[i].top) < 20);
    near ? near.push(i) : rows.push([i]);
  });
  const words = Object.entries(state.picks).map(([name, pick]) => `${name}: ${wordsOf(pick)}`);
  const left = Math.min(...boxes.map((b) => b.left)) - EDGE;
  const width = Math.max(...boxes.map((b) => b.right)) - left + EDGE;
  const heights = rows.map((row) => Math.max(...row.map((i) => boxes[i].height)) + 4 * LINE);
  const ratio = Math.max(2, devicePixelRatio);
  const canvas = made("canvas", "", {
    width: width * ratio,
    height: (sum(heights) + (words.length + 2) * LINE + EDGE) * ratio,
  });
  const ink = canvas.getContext("2d");
  ink.scale(ratio, ratio);
  ink.fillStyle = "#fff";
  ink.fillRect(0, 0, width, canvas.height);
  ink.fillStyle = "#1b1f24";
  ink.font = "600 18px system-ui, sans-serif";
  ink.fillText(`${about.site}, ${dayOf(state.date)}${about.simulated ? " (SIMULATED)" : ""}`, EDGE, 1.5 * LINE);
  ink.font = "13px system-ui, sans-serif";
  words.forEach((line, i) => ink.fillText(line, EDGE, (i + 2.6) * LINE));
  let top = (words.length + 2) * LINE;
  rows.forEach((row, r) => {
    for (const i of row) {
      const x = boxes[i].left - left;
      const { width: wide, height: high } = boxes[i];
      const view = Bokeh.index.get_by_id(parsed("figures").roots[frames[i].id]);
      ink.fillText(headOf(frames[i]), x, top + 1.3 * LINE);
      ink.drawImage(view.export("png", true).canvas, x, top + 1.7 * LINE, wide, high);
      ink.font = "11px system-ui, sans-serif";
      ink.fillText(legendOf(frames[i]), x, top + high + 2.7 * LINE, wide);
      ink.font = "13px system-ui, sans-serif";
    }
    top += heights[r];
  });
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

function headOf(frame) {
  const head = frame.parentElement.querySelector("h3");
  const label = head.querySelector("label")?.firstChild.textContent.trim() ?? head.textContent;
  const option = head.querySelector("select")?.selectedOptions[0].textContent;
  return option ? `${label}: ${option}` : label;
}

function legendOf(frame) {
  const legend = frame.parentElement.querySelector(".legend");
  const ends = [...(legend?.querySelectorAll(".bar span") ?? [])].map((e) => e.textContent);
  return `${ends.length ? `${ends.join(" to ")}. ` : ""}${legend?.lastChild?.textContent ?? ""}`;
}

// ---- The page begins

function fill(select, options) {
  element(select).replaceChildren(...options.map(([value, text]) => made("option", text, { value })));
}

function write() {
  const { length, all } = about.vectors,
    resolution = Math.abs(STEP_X);
  element("subtitle").textContent = [
    `${about.all_dates} dates from ${dayOf(0)} to ${dayOf(COUNT - 1)}`,
    `${about.height} \u00d7 ${about.width} pixels of ${resolution} m${about.crs ? `, ${about.crs}` : ""}`,
    `${all} numbers for each pixel and date${about.model ? `; model ${about.model}` : ""}`,
  ].join("; ");
  element("left-out").hidden = !about.left_out.length;
  element("left-out").textContent =
    `To stay below 25 MB this page holds ${about.left_out.join(" and ")}. All of it: eomm view --serve.`;
  element("card-colour").hidden = !about.bands;
  element("maps").classList.toggle("two", !about.bands);
  element("card-told").hidden = !about.told.length;
  element("card-observed").classList.toggle("alone", !about.told.length);
  COMPONENTS.length < 3 &&
    [1, 2].slice(COMPONENTS.length - 1).forEach((k) => (element(`card-component${k}`).hidden = true));
  if (about.bands) {
    const { names, units, colour, range } = about.bands;
    element("legend-colour").textContent =
      `${colour.map((i) => names[i]).join(", ")}: ` +
      `${range.map((v) => v.toPrecision(2)).join(" to ")} ${units[colour[0]]} on all dates.`;
  }
  fill("shown", [["all", "components 1\u20133"], ...COMPONENTS.map((_, k) => [k, `component ${k + 1}`])]);
  fill("question", [
    ["now", "at this date"],
    ["then", "through time"],
    ...about.told.map(({ name, label }) => [name, `${label} instead`]),
  ]);
  const bands = about.bands ? about.bands.names.map((name, i) => [i, `${name} (${about.bands.units[i]})`]) : [];
  fill(
    "told",
    about.told.map(({ name, label, unit }) => [name, unit ? `${label} (${unit})` : label]),
  );
  fill("band", [...(about.bands?.ndvi ? [["ndvi", "NDVI"]] : []), ...bands, ["like", "likeness to A"]]);
  for (const flag of about.flags) {
    const label = made("label", "", { title: flag.meaning }),
      chip = made("span", "", { className: "chip" });
    chip.style.background = flag.color;
    label.append(
      made("input", "", { type: "checkbox", id: `flag-${flag.name}`, checked: flag.name === "clouded" }),
      chip,
      flag.name,
    );
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
  for (const id of ["band", "told"]) on(id, "change", drawSeries);
  on("picks", "change", () => ((state.drawing = []), drawPicks()));
  on("finish", "click", finish);
  on("clear", "click", () => (delete state.picks.B, delete state.picks.polygon, drawPicks(), drawSeries()));
  on("closer", "click", () => zoom(0.6));
  on("wider", "click", () => zoom(1 / 0.6));
  on("all", "click", () => ["x", "y"].forEach((name) => Object.assign(model(name), whole[name])));
  on("csv", "click", () => save(new Blob([table()], { type: "text/csv" }), "series.csv"));
  on("png", "click", () => busy(async () => save(await picture(), `${about.dates[state.date]}.png`)));
  const whole = Object.fromEntries(
    ["x", "y"].map((name) => [name, { start: model(name).start, end: model(name).end }]),
  );
  let later;
  const moved = () => {
    clearTimeout(later);
    later = setTimeout(() => ((state.window = wholeWindow()), busy(drawMaps)), 250);
  };
  if (about.server)
    for (const range of ["x", "y"])
      for (const end of ["start", "end"]) model(range).properties[end].change.connect(moved);
  for (const root of bokeh.roots()) {
    if (!root.name.startsWith("map-")) {
      root.on_event("tap", (event) => setDate(nearestDate(event.x)));
      continue;
    }
    root.on_event("tap", tapped);
    root.on_event("doubletap", () => mode() === "polygon" && finish());
    root.on_event("mousemove", (event) => hover(event, root.name));
    root.on_event("mouseleave", () => (element("tip").hidden = true));
    const narrow = matchMedia("(max-width: 760px)").matches; // there a finger scrolls the page
    if (narrow) root.toolbar.tools.forEach((tool) => (tool.active = false));
  }
}

async function begin() {
  write();
  const { document: json, item, roots } = parsed("figures");
  const places = Object.fromEntries(
    Object.entries(roots)
      .filter(([name]) => element(name))
      .map(([name, id]) => [id, element(name)]),
  );
  await Bokeh.embed.embed_items({ page: json }, [{ ...item, docid: "page", roots: places }]);
  bokeh = Bokeh.documents.at(-1);
  state.window = wholeWindow();
  listen();
  await setDate(state.date);
  await busy(() => choosePixel("A", Math.floor(about.height / 2), Math.floor(about.width / 2)));
}

busy(begin);
