"use strict";
// What the page does. Text from runs is only ever set as text (`textContent`), never read as HTML.

const data = JSON.parse(document.getElementById("data").textContent);
const LABELS = { score: "best score", seconds: "duration", started: "date (UTC)", group: "multirun" };
const GROUPS = { run: "Run", settings: "Settings that differ", last: "Last values", figures: "Evaluation" };
const COLOURS = 8, DASHES = 4, FIRST_CHARTS = 6;
const NONE = "–";

const byId = (id) => document.getElementById(id);
const state = { selected: [], sort: "run started", descending: true, metrics: null, shown: new Set(), at: null };

// --- small helpers ---

/** An element with properties, `class` and children (text or elements; null is left out). */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

function draw(tag, attributes = {}, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}

function numeral(value) {
  if (typeof value !== "number") return NONE;
  const size = Math.abs(value);
  const text = Number.isInteger(value) && size < 1e6 ? String(value)
    : size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(2) : String(Number(value.toPrecision(4)));
  return text.replace("-", "−");
}

function duration(seconds) {
  if (typeof seconds !== "number") return NONE;
  const whole = Math.round(seconds), hours = Math.floor(whole / 3600), minutes = Math.floor((whole % 3600) / 60);
  return hours ? `${hours} h ${minutes} min` : minutes ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}

const idOf = (column) => `${column.group} ${column.key}`;
const labelOf = (column) => column.label || (column.group === "run" && LABELS[column.key]) || column.key;

/** The end of a dotted key, two parts or as many as tell it from the other keys. */
function brief(key, keys) {
  const parts = key.split(".");
  for (let count = 2; count < parts.length; count++) {
    const end = parts.slice(-count).join(".");
    if (keys.filter((other) => other === end || other.endsWith(`.${end}`)).length === 1) return end;
  }
  return key;
}

/** A run's plain value in a column; null where it has none. */
function valueOf(run, column) {
  if (column.group === "run") return run[column.key] === "" ? null : run[column.key];
  const value = run[column.group][column.key];
  return value === undefined || value === null ? null : column.group === "figures" ? value[0] : value;
}

function textOf(run, column) {
  const value = valueOf(run, column);
  if (value === null) return NONE;
  if (column.key === "seconds") return duration(value);
  if (column.key === "started") return String(value).slice(0, 16).replace("T", " ");
  return typeof value === "number" ? numeral(value) : String(value);
}

const isNumeric = (column) => data.runs.some((run) => typeof valueOf(run, column) === "number");

/** The stroke of the selected run number `index`: a colour, and beyond the colours a pattern. */
const stroke = (index) => `s${index % COLOURS} d${Math.floor(index / COLOURS) % DASHES}`;

function swatch(index) {
  const svg = draw("svg", { class: "swatch", viewBox: "0 0 32 12", "aria-hidden": "true" });
  svg.append(draw("line", { x1: 1, y1: 6, x2: 31, y2: 6, class: `line ${stroke(index)}`, "stroke-width": 3 }));
  return svg;
}

// --- table ---

data.runs.forEach((run, index) => {
  run.index = index;
  const settings = Object.entries(run.settings).map(([key, value]) => `${key}=${value}`);
  run.words = [run.name, run.experiment, run.data, run.status, run.commit, ...settings].join("\n").toLowerCase();
});
const settings = data.columns.filter((column) => column.group === "settings").map((column) => column.key);
data.columns.forEach((column) => {
  if (column.group === "settings") column.label = brief(column.key, settings);
  column.numeric = isNumeric(column);
  if (column.shown) state.shown.add(idOf(column));
});

const chosen = (id) => byId(id).value;

function matching() {
  const words = chosen("text").toLowerCase().split(/\s+/).filter(Boolean);
  return data.runs.filter((run) =>
    words.every((word) => run.words.includes(word)) &&
    [["experiment", "experiment"], ["data-name", "data"], ["status", "status"]].every(
      ([id, key]) => !chosen(id) || run[key] === chosen(id)));
}

function sorted(runs) {
  const column = data.columns.find((one) => idOf(one) === state.sort);
  const key = (run) => (column ? valueOf(run, column) : run.name);
  const sign = state.descending ? -1 : 1;
  return [...runs].sort((first, second) => {
    const a = key(first), b = key(second);
    if (a === null || b === null) return (a === null) - (b === null); // those without a value come last
    const order = typeof a === "number" && typeof b === "number" ? a - b
      : String(a).localeCompare(String(b), "en", { numeric: true });
    return sign * order || first.index - second.index;
  });
}

function header(id, label, numeric, title = "") {
  const button = make("button", { type: "button", textContent: label, title });
  button.addEventListener("click", () => {
    state.descending = state.sort === id ? !state.descending : false;
    state.sort = id;
    showTable();
    byId("runs").querySelector(`th[data-id="${CSS.escape(id)}"] button`).focus();
  });
  const cell = make("th", { scope: "col", "data-id": id, className: numeric ? "number" : "" });
  if (state.sort === id) cell.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
  cell.append(button);
  return cell;
}

function nameCell(run) {
  const box = make("input", { type: "checkbox", checked: state.selected.includes(run), "aria-label": `compare ${run.name}` });
  box.addEventListener("change", () => select([run], box.checked));
  const parts = run.name.split("/"), last = parts.pop();
  const where = parts.flatMap((part) => [`${part}/`, make("wbr")]); // a long name breaks at its slashes
  const name = make("span", { className: "name" }, make("span", { className: "where" }, ...where), last);
  const problems = run.problems.length
    ? make("span", { className: "problem", title: run.problems.join("\n"), textContent: "⚠", "aria-label": `could not be read: ${run.problems.join("; ")}` })
    : null;
  return make("th", { scope: "row" }, make("label", {}, box, name, problems));
}

function cell(run, column) {
  const element = make("td", { className: column.numeric ? "number" : "" });
  const text = textOf(run, column);
  if (idOf(column) === "run status") element.append(make("span", { className: `status ${run.status}`, textContent: text, title: run.error }));
  else element.textContent = text;
  if (idOf(column) === "run score") element.title = run.monitor;
  if (column.group === "figures" && run.figures[column.key]) element.title = interval(run.figures[column.key]);
  return element;
}

const interval = ([, low, high]) => (low === null || high === null ? "" : `[${numeral(low)}, ${numeral(high)}]`);

function showTable() {
  const runs = sorted(matching());
  const columns = data.columns.filter((column) => state.shown.has(idOf(column)));
  const every = make("input", { type: "checkbox", "aria-label": "compare all runs of the table", checked: runs.length > 0 && runs.every((run) => state.selected.includes(run)) });
  every.addEventListener("change", () => select(runs, every.checked));
  const first = header("name", "run", false);
  first.replaceChildren(make("div", {}, every, ...first.childNodes));
  byId("runs").tHead.rows[0].replaceChildren(first, ...columns.map((c) => header(idOf(c), labelOf(c), c.numeric, c.label ? c.key : "")));
  byId("runs").tBodies[0].replaceChildren(...runs.map((run) =>
    make("tr", { className: state.selected.includes(run) ? "selected" : "", "data-run": run.index },
      nameCell(run), ...columns.map((column) => cell(run, column)))));
  byId("empty").hidden = runs.length > 0;
  byId("empty").textContent = data.runs.length ? "No run matches." : "There are no runs here yet.";
  summarise(runs);
}

function summarise(runs) {
  const count = (status) => data.runs.filter((run) => run.status === status).length;
  const states = ["finished", "unfinished", "failed"].filter(count).map((status) => `${count(status)} ${status}`);
  const shown = runs.length === data.runs.length ? "" : ` ${runs.length} shown.`;
  byId("summary").textContent = `${data.runs.length} runs: ${states.join(", ") || "none"}.${shown} Select runs to compare them. Made ${data.made.slice(0, 16).replace("T", " ")} UTC.`;
}

function options(id, values, all) {
  byId(id).replaceChildren(make("option", { value: "", textContent: all }),
    ...values.map((value) => make("option", { value, textContent: value })));
}

function unique(values) {
  return [...new Set(values.filter((value) => value !== "" && value !== null))].sort();
}

/** Boxes to choose from, under headings; `change(key, on)` is called for each that changes. */
function choices(container, groups, isOn, change) {
  container.replaceChildren(...groups.filter(([, entries]) => entries.length).flatMap(([title, entries]) => [
    title ? make("h3", { textContent: title }) : null,
    ...entries.map(([key, label]) => {
      const box = make("input", { type: "checkbox", checked: isOn(key), value: key });
      box.addEventListener("change", () => change(key, box.checked));
      return make("label", {}, box, label);
    })].filter(Boolean)));
}

function showColumnChoices() {
  const wanted = chosen("column-text").toLowerCase();
  const groups = Object.entries(GROUPS).map(([group, title]) => [title, data.columns
    .map((column) => [column, column.label ? column.key : labelOf(column)])
    .filter(([column, name]) => column.group === group && name.toLowerCase().includes(wanted))
    .map(([column, name]) => [idOf(column), name])]);
  choices(byId("column-list"), groups, (key) => state.shown.has(key), (key, on) => {
    if (on) state.shown.add(key); else state.shown.delete(key);
    showTable();
  });
}

// --- selection ---

function select(runs, on) {
  state.selected = state.selected.filter((run) => !runs.includes(run));
  if (on) state.selected.push(...runs);
  state.at = null;
  const focused = document.activeElement && document.activeElement.closest("tr[data-run]");
  showTable();
  if (focused) byId("runs").querySelector(`tr[data-run="${focused.dataset.run}"] input`)?.focus();
  showComparison();
}

function showComparison() {
  byId("compare").hidden = state.selected.length === 0;
  if (!state.selected.length) return;
  byId("legend").replaceChildren(...state.selected.map((run, index) => {
    const remove = make("button", { type: "button", textContent: "×", "aria-label": `leave out ${run.name}` });
    remove.addEventListener("click", () => select([run], false));
    return make("div", { className: "chip", title: run.name }, swatch(index), make("span", { textContent: run.name }), remove);
  }));
  showMetricChoices();
  showCharts();
  showScatterChoices();
  showPictureChoices();
  showDiff();
  showFigures();
  showRepeat();
}

// --- curves ---

function metricNames() {
  const names = unique(state.selected.flatMap((run) => Object.keys(run.curves.y)));
  const monitors = unique(state.selected.map((run) => run.monitor)).filter((name) => names.includes(name));
  return [...new Set([...monitors, ...names.filter((name) => name.startsWith("val/")), ...names])];
}

const chartsShown = () => metricNames().filter((name, index) => (state.metrics ? state.metrics.has(name) : index < FIRST_CHARTS));

function showMetricChoices() {
  const shown = new Set(chartsShown());
  choices(byId("metric-list"), [["", metricNames().map((name) => [name, name])]], (name) => shown.has(name), (name, on) => {
    state.metrics = new Set(chartsShown());
    if (on) state.metrics.add(name); else state.metrics.delete(name);
    showCharts();
  });
}

/** Exponential moving average whose first values are not drawn towards 0. */
function smoothed(values, weight) {
  let mean = 0, sum = 0;
  return values.map((value) => {
    if (value === null) return null;
    mean = weight * mean + (1 - weight) * value;
    sum = weight * sum + (1 - weight);
    return mean / sum;
  });
}

/** The selected runs' curves of a metric: [{run, index, x, y, raw}]. */
function seriesOf(metric) {
  const axis = Number(chosen("axis")), weight = Number(chosen("smooth"));
  return state.selected.flatMap((run, index) => {
    const curve = run.curves.y[metric];
    if (!curve) return [];
    return [{ run, index, x: run.curves.x[curve[0]][axis], raw: curve[1], y: smoothed(curve[1], weight) }];
  });
}

/** Round values between `low` and `high`; on a log scale powers of ten, with 2 and 5 where there are few. */
function ticks(low, high, log) {
  if (log) {
    const powers = [];
    for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++) powers.push(...[1, 2, 5].map((m) => m * 10 ** e));
    const inside = powers.filter((value) => value >= low * 0.999 && value <= high * 1.001);
    const decades = inside.filter((value) => Number.isInteger(Number(Math.log10(value).toFixed(9))));
    return decades.length >= 3 ? decades : inside;
  }
  const rough = (high - low) / 4, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [5, 2, 1].find((m) => m * power <= rough * (1 + 1e-9));
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-6; value += step) found.push(Number(value.toPrecision(12)));
  return found;
}

const PLOT = { width: 460, height: 250, left: 52, right: 10, top: 10, bottom: 28 };

function scales(series, log) {
  const usable = (value) => value !== null && (!log || value > 0);
  const xs = series.flatMap((one) => one.x), ys = series.flatMap((one) => [...one.y, ...one.raw].filter(usable));
  if (!ys.length) return null;
  const extent = (values) => values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
  const x = extent(xs), y = extent(ys);
  if (x[0] === x[1]) x[1] += 1;
  if (y[0] === y[1]) { y[0] -= Math.abs(y[0]) * 0.1 || 1; y[1] += Math.abs(y[1]) * 0.1 || 1; }
  if (!log) { const room = (y[1] - y[0]) * 0.04; y[0] -= room; y[1] += room; }
  const f = log ? Math.log10 : (value) => value;
  return {
    x, y, usable,
    toX: (value) => PLOT.left + ((value - x[0]) / (x[1] - x[0])) * (PLOT.width - PLOT.left - PLOT.right),
    toY: (value) => PLOT.height - PLOT.bottom - ((f(value) - f(y[0])) / (f(y[1]) - f(y[0]))) * (PLOT.height - PLOT.top - PLOT.bottom),
  };
}

function path(one, values, scale) {
  let text = "", pen = "M";
  values.forEach((value, i) => {
    if (!scale.usable(value)) { pen = "M"; return; }
    text += `${pen}${scale.toX(one.x[i]).toFixed(1)} ${scale.toY(value).toFixed(1)}`;
    pen = "L";
  });
  return text;
}

/** Lines and numerals; `across` are the values to name along x, `f` what places them. */
function axes(svg, scale, log, across = ticks(...scale.x, false), f = (value) => value) {
  for (const value of ticks(...scale.y, log)) {
    const y = scale.toY(value);
    svg.append(draw("line", { class: "grid", x1: PLOT.left, x2: PLOT.width - PLOT.right, y1: y, y2: y }),
      draw("text", { x: PLOT.left - 6, y: y + 4, "text-anchor": "end" }, numeral(value)));
  }
  for (const value of across) {
    svg.append(draw("text", { x: scale.toX(f(value)), y: PLOT.height - 10, "text-anchor": "middle" }, numeral(value)));
  }
}

function showCharts() {
  const log = byId("log").checked;
  byId("charts").replaceChildren(...chartsShown().map((metric) => chart(metric, log)));
  if (!byId("charts").children.length) byId("charts").append(make("p", { className: "quiet", textContent: "No curves." }));
}

function chart(metric, log) {
  const series = seriesOf(metric), scale = scales(series, log);
  const figure = make("figure", { className: "chart", "data-metric": metric }, make("figcaption", { textContent: metric }));
  if (!scale) {
    figure.append(make("p", { className: "quiet", textContent: log ? "No positive values." : "No values." }));
    return figure;
  }
  const svg = draw("svg", { class: "plot", viewBox: `0 0 ${PLOT.width} ${PLOT.height}`, tabindex: "0", role: "img",
    "aria-label": `${metric} of ${series.length} runs; arrow keys read values` });
  axes(svg, scale, log);
  for (const one of series) {
    if (Number(chosen("smooth"))) svg.append(draw("path", { class: `line faint ${stroke(one.index)}`, d: path(one, one.raw, scale) }));
    svg.append(draw("path", { class: `line curve ${stroke(one.index)}`, d: path(one, one.y, scale) }));
    if (one.x.length === 1) svg.append(dot(one, 0, scale));
  }
  const marks = draw("g"), readout = make("div", { className: "readout", hidden: true, role: "status" });
  svg.append(marks);
  figure.append(svg, readout);
  listen(figure, svg, readout, series, scale);
  figure.mark = (at) => mark(marks, series, scale, at);
  return figure;
}

const dot = (one, i, scale) => draw("circle", { class: `dot ${stroke(one.index)}`, r: 3.5, cx: scale.toX(one.x[i]), cy: scale.toY(one.y[i]) });

/** The index of the value of `sorted` that is nearest to `at`. */
function nearest(values, at) {
  return values.reduce((best, value, i) => (Math.abs(value - at) < Math.abs(values[best] - at) ? i : best), 0);
}

/** The index of a curve's point that is nearest to `at`; -1 before its beginning and behind its end. */
const pointAt = (one, at) => (at < one.x[0] || at > one.x[one.x.length - 1] ? -1 : nearest(one.x, at));

function mark(marks, series, scale, at) {
  marks.replaceChildren();
  if (at === null || at < scale.x[0] || at > scale.x[1]) return;
  const x = scale.toX(at);
  marks.append(draw("line", { class: "cursor", x1: x, x2: x, y1: PLOT.top, y2: PLOT.height - PLOT.bottom }));
  for (const one of series) {
    const i = pointAt(one, at);
    if (i >= 0 && scale.usable(one.y[i])) marks.append(dot(one, i, scale));
  }
}

function listen(figure, svg, readout, series, scale) {
  const places = unique(series.flatMap((one) => one.x)).sort((a, b) => a - b);
  const move = (at) => {
    state.at = at;
    for (const other of byId("charts").children) if (other.mark) other.mark(at);
    for (const other of byId("charts").querySelectorAll(".readout")) other.hidden = true;
    if (at === null) return;
    const axis = byId("axis").selectedOptions[0].textContent.replace(/s$/, "");
    readout.replaceChildren(make("div", { textContent: `${axis} ${numeral(at)}` }), ...series.map((one) =>
      make("div", { className: "key" }, swatch(one.index), make("b", { textContent: numeral(one.y[pointAt(one, at)]) }), make("span", { textContent: one.run.name }))));
    readout.hidden = false;
    const right = scale.toX(at) > PLOT.width / 2;
    readout.style.left = right ? `${PLOT.left}px` : "auto";
    readout.style.right = right ? "auto" : ".8rem";
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * PLOT.width;
    const at = scale.x[0] + ((x - PLOT.left) / (PLOT.width - PLOT.left - PLOT.right)) * (scale.x[1] - scale.x[0]);
    move(places[nearest(places, at)]);
  });
  svg.addEventListener("pointerleave", () => move(null));
  svg.addEventListener("blur", () => move(null));
  svg.addEventListener("keydown", (event) => {
    const here = state.at === null ? -1 : nearest(places, state.at), last = places.length - 1;
    const next = { ArrowRight: Math.min(here + 1, last), ArrowLeft: here < 0 ? last : Math.max(here - 1, 0), Home: 0, End: last, Escape: null }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    move(next === null ? null : places[next]);
  });
}

// --- one against another ---

/** Columns in which a selected run has a number, under their headings. */
function showScatterChoices() {
  const usable = data.columns.filter((column) => state.selected.some((run) => typeof valueOf(run, column) === "number"));
  const varied = usable.find((column) => column.group === "settings" && column.key !== "seed" && unique(state.selected.map((run) => valueOf(run, column))).length > 1);
  const score = usable.find((column) => idOf(column) === "run score") || usable[0];
  for (const [id, first] of [["across", varied || score], ["up", score]]) {
    const before = chosen(id);
    byId(id).replaceChildren(...Object.entries(GROUPS).flatMap(([group, label]) => {
      const inside = usable.filter((column) => column.group === group);
      return inside.length ? [make("optgroup", { label }, ...inside.map((column) => make("option", { value: idOf(column), textContent: labelOf(column) })))] : [];
    }));
    if (usable.length) byId(id).value = usable.some((column) => idOf(column) === before) ? before : idOf(first);
  }
  showScatter();
}

function showScatter() {
  const [across, up] = ["across", "up"].map((id) => data.columns.find((column) => idOf(column) === chosen(id)));
  const log = byId("across-log").checked, f = log ? Math.log10 : (value) => value;
  const points = !across || !up ? [] : state.selected.map((run, index) => ({ run, index, across: valueOf(run, across), up: valueOf(run, up) }))
    .filter((one) => typeof one.across === "number" && typeof one.up === "number" && (!log || one.across > 0))
    .map((one) => ({ ...one, x: [f(one.across)], y: [one.up], raw: [one.up] }));
  const scale = points.length ? scales(points, false) : null;
  if (!scale) {
    byId("scatter").replaceChildren(make("p", { className: "quiet", textContent: "No run has both values." }));
    return;
  }
  const svg = draw("svg", { class: "plot", viewBox: `0 0 ${PLOT.width} ${PLOT.height}`, role: "group", "aria-label": `${labelOf(up)} against ${labelOf(across)}` });
  axes(svg, scale, false, log ? ticks(...scale.x.map((value) => 10 ** value), true) : undefined, f);
  const readout = make("div", { className: "readout", hidden: true, role: "status" });
  for (const one of points) svg.append(scatterDot(one, scale, readout));
  byId("scatter").replaceChildren(make("figure", { className: "chart" },
    make("figcaption", {}, labelOf(up), make("span", { className: "quiet", textContent: ` against ${labelOf(across)}` })), svg, readout));
}

/** A run's point, which tells its values when it is pointed at or reached by keyboard; a job of a sweep has its number beside it. */
function scatterDot(one, scale, readout) {
  const x = scale.toX(one.x[0]), y = scale.toY(one.up), right = x > PLOT.width / 2;
  const circle = draw("circle", { class: `dot s${one.index % COLOURS}`, r: 4.5, cx: x, cy: y, tabindex: "0", role: "img",
    "aria-label": `${one.run.name}: ${numeral(one.across)}, ${numeral(one.up)}` });
  const tell = () => {
    readout.replaceChildren(make("div", { className: "key" }, swatch(one.index), make("b", { textContent: `${numeral(one.across)}, ${numeral(one.up)}` }), make("span", { textContent: one.run.name })));
    readout.hidden = false;
    readout.style.left = right ? `${PLOT.left}px` : "auto";
    readout.style.right = right ? "auto" : ".8rem";
  };
  for (const event of ["pointerenter", "focus"]) circle.addEventListener(event, tell);
  for (const event of ["pointerleave", "blur"]) circle.addEventListener(event, () => { readout.hidden = true; });
  const group = draw("g"), label = one.run.name.split("/").pop();
  group.append(circle);
  if (label.length <= 3) group.append(draw("text", { x: x + (right ? -7 : 7), y: y - 5, "text-anchor": right ? "end" : "start" }, label));
  return group;
}

// --- pictures ---

function showPictureChoices() {
  const labels = [...new Set(state.selected.flatMap((run) => Object.keys(run.pictures)))];
  const before = chosen("picture");
  byId("picture").replaceChildren(...labels.map((value) => make("option", { value, textContent: value.replaceAll("_", " ") })));
  if (labels.includes(before)) byId("picture").value = before;
  showEpochs();
}

function showEpochs() {
  const epochs = state.selected.flatMap((run) => (run.pictures[chosen("picture")] || []).map(([epoch]) => epoch)).filter((epoch) => epoch !== null);
  byId("epoch-label").hidden = epochs.length === 0;
  if (epochs.length) {
    byId("epoch").min = Math.min(...epochs);
    byId("epoch").max = Math.max(...epochs);
    byId("epoch").value = byId("epoch").max;
  }
  showPictures();
}

function showPictures() {
  const label = chosen("picture"), wanted = Number(chosen("epoch"));
  byId("epoch-out").textContent = String(wanted);
  const having = state.selected.map((run, index) => [run, index]).filter(([run]) => (run.pictures[label] || []).length);
  byId("pictures").replaceChildren(...having.map(([run, index]) => {
    const pictures = run.pictures[label];
    const [epoch, source] = pictures[nearest(pictures.map(([one]) => one ?? wanted), wanted)];
    const caption = epoch === null ? run.name : `${run.name}, epoch ${epoch}`;
    return make("figure", {}, make("figcaption", {}, swatch(index), caption),
      make("a", { href: source }, make("img", { src: source, alt: `${label} of ${caption}`, loading: "lazy" })));
  }));
  if (!having.length) byId("pictures").append(make("p", { className: "quiet", textContent: "No pictures." }));
}

// --- settings, evaluation, repetition ---

function compareTable(id, keys, cellOf, nothing) {
  const rows = keys.map((key) => make("tr", {}, make("th", { scope: "row", textContent: key }), ...state.selected.map((run) => cellOf(run, key))));
  const head = make("tr", {}, make("th", { className: "text" }), ...state.selected.map((run, index) =>
    make("th", { scope: "col", className: "text" }, swatch(index), " ", run.name)));
  byId(id).replaceChildren(...(rows.length
    ? [make("thead", {}, head), make("tbody", {}, ...rows)]
    : [make("tbody", {}, make("tr", {}, make("td", { className: "quiet", textContent: nothing })))]));
}

const plain = (value) => (value === undefined ? NONE : value === null ? "null" : String(value));

function showDiff() {
  const keys = unique(state.selected.flatMap((run) => Object.keys(run.settings)));
  const differ = keys.filter((key) => new Set(state.selected.map((run) => plain(run.settings[key]))).size > 1);
  compareTable("diff", differ, (run, key) => make("td", { textContent: plain(run.settings[key]) }),
    state.selected.length < 2 ? "Select a second run to see what differs." : "Nothing differs.");
}

function showFigures() {
  const keys = unique(state.selected.flatMap((run) => Object.keys(run.figures)));
  compareTable("figures", keys, (run, key) => {
    const figure = run.figures[key];
    return figure ? make("td", {}, numeral(figure[0]), " ", make("span", { className: "interval", textContent: interval(figure) })) : make("td", { textContent: NONE });
  }, "No evaluation of these runs was found.");
}

function showRepeat() {
  byId("repeat").replaceChildren(...state.selected.flatMap((run, index) => [
    make("div", { className: "key" }, swatch(index), ` ${run.name} `, ...run.reports.flatMap(([label, href]) => [make("a", { href, textContent: `report (${label})` }), " "])),
    run.error ? make("div", { className: "problem", textContent: run.error }) : null,
    ...run.problems.map((text) => make("div", { className: "problem", textContent: `could not be read: ${text}` })),
    run.repeat ? make("code", { className: "line-to-copy", tabIndex: 0, textContent: run.repeat })
      : make("p", { className: "quiet", textContent: "This run left no repeat.yaml." }),
  ].filter(Boolean)));
}

// --- begin ---

options("experiment", unique(data.runs.map((run) => run.experiment)), "all");
options("data-name", unique(data.runs.map((run) => run.data)), "all");
options("status", unique(data.runs.map((run) => run.status)), "all");
for (const id of ["text", "experiment", "data-name", "status"]) byId(id).addEventListener("input", showTable);
byId("column-text").addEventListener("input", showColumnChoices);
for (const id of ["axis", "smooth", "log"]) byId(id).addEventListener("input", () => { state.at = null; showCharts(); });
for (const id of ["across", "up", "across-log"]) byId(id).addEventListener("input", showScatter);
byId("picture").addEventListener("input", showEpochs);
byId("epoch").addEventListener("input", showPictures);
document.addEventListener("click", (event) => {
  for (const sheet of document.querySelectorAll("details[open]")) if (!sheet.contains(event.target)) sheet.open = false;
});
document.addEventListener("keydown", (event) => {
  const sheet = event.key === "Escape" && event.target.closest("details[open]");
  if (sheet) { sheet.open = false; sheet.querySelector("summary").focus(); }
});
showColumnChoices();
showTable();
