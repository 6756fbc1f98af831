"use strict";
// The page of a variant: an overview, and a gallery in which people decide on samples. Names from the data
// reach the document as text only (textContent, attributes), never as markup.

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const shown = data.shown;
const total = shown.ids.length;
const { trains } = data; // the samples after them are in the test split
const inTest = (number) => number >= trains;

function numbers(text, Kind) {
  if (text === null) return null;
  const bytes = atob(text), found = new Uint8Array(bytes.length);
  for (let at = 0; at < bytes.length; at++) found[at] = bytes.charCodeAt(at);
  return Kind === Uint8Array ? found : new Kind(found.buffer);
}

const given = numbers(shown.given, Int32Array);
const suggested = numbers(shown.suggested, Int32Array);
const clean = numbers(shown.clean, Int32Array);
const mislabelled = numbers(shown.mislabelled, Float32Array);
const suggestedProbability = numbers(shown.suggested_probability, Float32Array);
const neighbours = numbers(shown.neighbours, Int32Array);
const group = numbers(shown.group, Int32Array);
const kind = numbers(shown.kind, Uint8Array);
const issues = numbers(shown.issues, Uint16Array);
const leak = numbers(shown.leak, Int32Array);
const conflicting = numbers(shown.conflicting, Uint8Array);
const trajectories = { margin: numbers(shown.margin, Float32Array), curvature: numbers(shown.curvature, Float32Array) };
const otherGiven = numbers(data.others.given, Int32Array);
const NEAREST = neighbours.length / total;
const scores = data.scores.map((score, at) => ({
  ...score,
  values: numbers(shown.scores[at], Float32Array),
  ranks: numbers(shown.ranks[at], Int32Array),
}));
if (mislabelled) scores.push({ key: "mislabelled", title: "probability that the label is wrong", values: mislabelled, ranks: null });
const memorization = numbers(shown.memorization, Float32Array);
if (memorization) scores.push({ key: "memorization", title: "memorization", values: memorization, ranks: null });
const first = scores[0];

// ---- making elements

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "text") made.textContent = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function drawn(name, attributes = {}, text = null) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  return made;
}

const whole = new Intl.NumberFormat("en");
function short(value) {
  if (value === null || Number.isNaN(value)) return "not known";
  const size = Math.abs(value);
  if (value === 0 || (size >= 0.001 && size < 1e5)) return String(Number(value.toPrecision(4)));
  return value.toExponential(2);
}
function percent(value) {
  if (Number.isNaN(value)) return "not known";
  return value > 0.995 && value < 1 ? ">99%" : `${Math.round(100 * value)}%`;
}
const labelled = (number) => (number < 0 ? "none" : data.classes[number]);
const flagged = (number) => Boolean(clean) && !inTest(number); // whether it is known if its label is corrupted
const cleanWords = (number, before) => (clean[number] < 0 ? "" : `${before} ${labelled(clean[number])}`);

// ---- overview

function axes(svg, box, x, y, labels) {
  const ticks = (scale, count) => {
    if (scale.log) {
      const found = [], steps = scale.high - scale.low < 2 ? [1, 2, 5] : [1]; // between few powers of ten
      for (let power = Math.floor(scale.low); power <= scale.high; power++) {
        for (const times of steps) {
          const at = power + Math.log10(times);
          if (at >= scale.low && at <= scale.high) found.push([at, power >= -2 && power <= 5 ? String(Number((times * 10 ** power).toPrecision(1)).toLocaleString("en")) : `${times}e${power}`]);
        }
      }
      const step = Math.ceil(found.length / count);
      return found.filter((_, at) => at % step === 0);
    }
    const rough = (scale.high - scale.low) / count || 1, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((by) => by * power).find((size) => size >= rough);
    const found = [];
    for (let at = Math.ceil(scale.low / step - 1e-9) * step; at <= scale.high + 1e-9 * step; at += step) {
      found.push([at, Number(at.toPrecision(6)).toString()]);
    }
    return found;
  };
  for (const [at, text] of ticks(x, 5)) {
    const room = 3.5 * text.length; // half of its width: a long number at the right end stays inside the picture
    svg.append(drawn("text", { x: Math.min(x.place(at), 359 - room), y: box.bottom + 15, "text-anchor": "middle" }, text));
    svg.append(drawn("path", { class: "axis", d: `M${x.place(at)} ${box.bottom}v4` }));
  }
  for (const [at, text] of ticks(y, 5)) {
    svg.append(drawn("text", { x: box.left - 6, y: y.place(at) + 4, "text-anchor": "end" }, text));
    svg.append(drawn("path", { class: "axis", d: `M${box.left} ${y.place(at)}H${box.right}` }));
  }
  svg.append(drawn("path", { class: "axis", d: `M${box.left} ${box.top}V${box.bottom}H${box.right}` }));
  svg.append(drawn("text", { x: (box.left + box.right) / 2, y: box.bottom + 32, "text-anchor": "middle" }, labels[0]));
  svg.append(drawn("text", { x: box.left - 38, y: box.top - 8 }, labels[1]));
}

function scale(low, high, from, to, log = false) {
  const share = (value) => (high === low ? 0.5 : (value - low) / (high - low));
  return { low, high, log, place: (value) => Number((from + share(value) * (to - from)).toFixed(2)) };
}

const line = (points) => points.map(([x, y], at) => `${at ? "L" : "M"}${x} ${y}`).join("");

/** A line through points, or a dot if there is one alone. */
function stroke(kind, points) {
  return drawn("path", points.length > 1 ? { class: kind, d: line(points) } : { class: `${kind} dot`, d: `${line(points)}h0` });
}

function figure(title, ...content) {
  const made = element("figure", {}, element("figcaption", {}, element("h3", { text: title })), ...content);
  byId("overview").append(made);
  return made;
}

function chart(label) {
  const box = { left: 48, right: 352, top: 22, bottom: 200 };
  return [drawn("svg", { viewBox: "0 0 360 236", role: "img", "aria-label": label }), box];
}

const legend = (names, kind = "") =>
  element("ul", { class: `legend ${kind}` }, ...names.map((name, at) => element("li", { class: `c${at}`, text: name })));

function table(head, rows, kind = "") {
  const cells = (row, name) => row.map((cell) => (cell instanceof Node ? element(name, {}, cell) : element(name, { text: cell })));
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": head[0] }, element("table", { class: kind },
    element("thead", {}, element("tr", {}, ...head.slice(1).map((text) => element("th", { scope: "col", text, title: text })))),
    element("tbody", {}, ...rows.map((row) => element("tr", {},
      element("th", { scope: "row", text: row[0], title: row[0] }), ...cells(row.slice(1), "td"))))));
}

function drawRoc() {
  const [svg, box] = chart("ROC curves of the best scores; the AUROC of each is in the legend");
  const x = scale(0, 1, box.left, box.right), y = scale(0, 1, box.bottom, box.top);
  axes(svg, box, x, y, ["clean samples flagged (share)", "corrupted samples found (share)"]);
  data.roc.forEach((curve, at) => {
    const points = curve.x.map((value, place) => [x.place(value), y.place(curve.y[place])]);
    svg.append(stroke(`curve c${at}`, points));
  });
  figure("Which score finds the corrupted labels?", svg, legend(data.roc.map((curve) => `${curve.title}: ${curve.auroc.toFixed(4)}`)));
}

function drawReview() {
  const { looked_at: looked, found } = data.review, curves = Object.entries(found);
  const [svg, box] = chart("Corrupted samples found over samples looked at, for several orders");
  const log = (value) => Math.log10(Math.max(value, 1));
  const x = scale(log(looked[0]), log(looked.at(-1)), box.left, box.right, true);
  const y = scale(0, Math.max(1, ...curves.flatMap(([, values]) => values)), box.bottom, box.top);
  axes(svg, box, x, y, ["samples looked at", "corrupted samples found"]);
  curves.forEach(([, values], at) => {
    svg.append(stroke(`curve c${at}`, values.map((value, place) => [x.place(log(looked[place])), y.place(value)])));
  });
  figure("How many are found by looking", svg, legend(curves.map(([name]) => name)));
}

function drawHistogram() {
  const { title, edges, groups } = data.histogram;
  const [svg, box] = chart(`Histogram of ${title}: ${groups.map((one) => one.name).join(" and ")}`);
  const most = Math.max(1, ...groups.flatMap((one) => one.counts));
  const x = scale(edges[0], edges.at(-1), box.left, box.right);
  const y = scale(-0.15, Math.log10(most) + 0.05, box.bottom, box.top, true);
  axes(svg, box, x, y, [title, "samples (log scale)"]);
  groups.forEach((one, at) => {
    const bars = one.counts.map((count, bin) => count === 0 ? "" :
      `M${x.place(edges[bin])} ${box.bottom}V${y.place(Math.log10(count))}H${x.place(edges[bin + 1])}V${box.bottom}Z`);
    svg.append(drawn("path", { class: `bars c${at}`, d: bars.join("") }));
  });
  figure(`How the samples differ in ${title}`, svg, legend(groups.map((one) => one.name), "areas"));
}

function drawCurvature() {
  const groups = data.curvature;
  const [svg, box] = chart(`Curvature over epochs: ${groups.map((one) => one.name).join(" and ")}`);
  const positive = groups.flatMap((one) => [...one.low, ...one.middle, ...one.high]).filter((value) => value > 0);
  const least = Math.log10(Math.min(...positive, 1)), most = Math.log10(Math.max(...positive, 1));
  const log = (value) => Math.max(least, Math.log10(value));
  const epochs = groups[0].epochs;
  const x = scale(epochs[0], epochs.at(-1), box.left, box.right), y = scale(least, most, box.bottom, box.top, true);
  axes(svg, box, x, y, ["epoch", "curvature (median, middle half)"]);
  groups.forEach((one, at) => {
    const beside = epochs.length > 1 ? 0 : 12 * at; // with one epoch, groups stand side by side
    const points = (values) => values.map((value, place) => [x.place(epochs[place]) + beside, y.place(log(value))]);
    const kind = epochs.length > 1 ? "band" : "curve";
    svg.append(drawn("path", { class: `${kind} c${at}`, d: `${line([...points(one.low), ...points(one.high).reverse()])}Z` }));
    svg.append(stroke(`curve c${at}`, points(one.middle)));
  });
  figure("Curvature during training", svg, legend(groups.map((one) => `${one.name} (${whole.format(one.samples)})`)));
}

function drawAurocs() {
  const rows = data.aurocs.map((row) => [row.title, row.auroc.toFixed(4), `${row.auroc_low.toFixed(4)} to ${row.auroc_high.toFixed(4)}`,
    row.average_precision.toFixed(3), percent(row.precision_first_5)]);
  figure("AUROC of each score", table(["AUROC of each score", "score", "AUROC", "interval", "average precision",
    "precision, first 5%"], rows)).className = "broad";
}

function drawConfusion() {
  const { among, matrix, pairs } = data.confusion;
  const button = ([one, other, count]) => {
    const made = element("button", { type: "button", text: whole.format(count),
      title: `show the samples given as ${labelled(one)} for which ${labelled(other)} is suggested` });
    made.addEventListener("click", () => only({ given: String(one), suggested: String(other) }));
    return made;
  };
  let made;
  if (matrix) {
    const cells = new Map(pairs.map((pair) => [`${pair[0]} ${pair[1]}`, pair]));
    const rows = data.classes.map((name, one) => [name, ...data.classes.map((_, other) => {
      const pair = cells.get(`${one} ${other}`);
      return pair ? button(pair) : "";
    })]);
    made = table(["Given against suggested labels", "given", ...data.classes], rows, "matrix");
  } else {
    made = table(["Given against suggested labels", "given", "suggested", "samples"],
      pairs.map((pair) => [labelled(pair[0]), labelled(pair[1]), button(pair)]));
  }
  const note = `${matrix ? "Rows: given, columns: suggested label" : "The most frequent pairs"}, of ${among}. A number shows its samples on this page.`;
  figure("Given against suggested labels", element("p", { class: "quiet", text: note }), made).className = !data.aurocs.length ? "" : data.issues.length ? "broad" : "whole";
}

function drawIssues() {
  const rows = data.issues.map(({ bit, title, train, test }) => {
    const here = issues.subarray(0, trains).reduce((count, bits) => count + ((bits >> bit) & 1), 0);
    const made = element("button", { type: "button", text: whole.format(here), title: `show the samples that are ${title}` });
    made.addEventListener("click", () => only({ issue: String(bit) }));
    return [title, here ? made : "0", whole.format(train), whole.format(test)];
  });
  const note = "Apart from the labels. A number shows its samples on this page.";
  figure("What else is wrong", element("p", { class: "quiet", text: note }),
    table(["What else is wrong", "images", "shown", "training", "test"], rows)).id = "issues";
}

function overview() {
  const tests = total - trains;
  const rest = trains < data.samples ? `, the most suspect ones; the other ${whole.format(data.samples - trains)} are in scores.csv` : "";
  const also = data.tests ? `, and ${whole.format(tests)} of ${whole.format(data.tests)} test samples${tests < data.tests ? ", the most suspect ones" : ""}` : "";
  byId("shown").textContent = `This page shows ${whole.format(trains)} of ${whole.format(data.samples)} training samples${rest}${also}.`;
  byId("found").append(...data.found.map((text) => element("li", { text })));
  byId("settings").append(...data.settings.flatMap(([name, value]) => [element("dt", { text: name }), element("dd", { text: value })]));
  if (data.aurocs.length) {
    drawAurocs();
    drawRoc();
    drawReview();
  }
  drawHistogram();
  drawCurvature();
  if (data.issues.length) drawIssues();
  drawConfusion();
}

// ---- images

const sheets = new Map();
function sheet(number) {
  if (!sheets.has(number)) {
    const bytes = numbers(data.sprites.sheets[number], Uint8Array);
    sheets.set(number, URL.createObjectURL(new Blob([bytes], { type: "image/webp" })));
  }
  return sheets.get(number);
}

/** The image with a number; of those from `total` on, the neighbours, only some are on the page. */
function picture(number, side) {
  const { width, height, across, down, columns, per_sheet: perSheet } = data.sprites;
  if (number >= total + data.others.pictured) return element("span", { text: "·" });
  const fits = side / Math.max(width, height), by = fits > 1 ? Math.floor(fits) : fits;
  const place = number % perSheet;
  const made = element("span", { class: by > 1 && Math.max(width, height) <= 32 ? "sprite pixels" : "sprite" });
  made.style.width = `${width * by}px`;
  made.style.height = `${height * by}px`;
  made.style.backgroundImage = `url(${sheet(Math.floor(number / perSheet))})`;
  made.style.backgroundSize = `${columns * across * by}px auto`;
  made.style.backgroundPosition = `${-(place % columns) * across * by}px ${-Math.floor(place / columns) * down * by}px`;
  return made;
}

// ---- what people read of samples that are no images: a text, or the row of a table

const words = data.words;
/** The cells of the sample with a number; [] if there is nothing to read. */
const cellsOf = (number) => (words && number < total + data.others.pictured ? words.rows[number] : []);
const readable = (number) => cellsOf(number).join(" ");

function reading(number) {
  const cells = cellsOf(number);
  if (cells.length === 1) return element("div", { class: "words", text: cells[0] });
  return element("div", { class: "words" }, ...cells.map((cell, at) =>
    element("div", {}, element("span", { class: "quiet", text: words.columns[at] }), ` ${cell}`)));
}

/** Samples beside each other: their texts below each other, or a table with a column for each. */
function compared(samples) {
  if (words.columns.length === 1) {
    return element("dl", { class: "texts" }, ...samples.flatMap(([name, number]) => [element("dt", { text: name }), element("dd", {}, reading(number))]));
  }
  const left = words.left ? [["…", ...samples.map(() => `${whole.format(words.left)} more columns`)]] : [];
  return table(["The rows of the table", "column", ...samples.map(([name]) => name)],
    [...words.columns.map((name, at) => [name, ...samples.map(([, number]) => cellsOf(number)[at] ?? "")]), ...left], "rows");
}

// ---- marks: decision, label and note of a sample, who decided and when, by id

const marks = new Map();
const numberOf = new Map(shown.ids.map((id, at) => [id, at]));
const undoable = [];
let kept = true;

const NAME = "memtrack name"; // of the person, for the pages of all variants

function store() {
  try {
    localStorage.setItem(NAME, byId("by").value);
    localStorage.setItem(data.storage, JSON.stringify([...marks].map(([id, mark]) => [id, mark.decision, mark.label, mark.note, mark.by, mark.when])));
  } catch {
    kept = false;
  }
  byId("notice").hidden = kept;
}

function restore() {
  try {
    byId("by").value = localStorage.getItem(NAME) ?? "";
    for (const [id, decision, label, note, by = "", when = ""] of JSON.parse(localStorage.getItem(data.storage) ?? "[]")) {
      if (numberOf.has(id)) marks.set(id, { decision, label, note, by, when });
    }
  } catch {
    kept = false;
  }
  byId("notice").textContent = "This viewer keeps no marks, and may not save files: download index.html and open it in a browser to decide.";
  byId("notice").hidden = kept;
}

const nothing = { decision: "", label: "", note: "", by: "", when: "" };
const markOf = (number) => marks.get(shown.ids[number]) ?? nothing;

function set(changes) {
  undoable.push(changes.map(([number]) => [number, markOf(number)]));
  put(changes);
}

function put(changes) {
  for (const [number, mark] of changes) {
    if (mark.decision || mark.note) marks.set(shown.ids[number], mark);
    else marks.delete(shown.ids[number]);
  }
  store();
}

function say(text) {
  const decided = [...marks.values()].filter((mark) => mark.decision).length;
  byId("status").textContent = `${text ? `${text} ` : ""}${whole.format(decided)} decided.`;
}

function decide(decision, label = "") {
  if (!list.length) return;
  const number = list[current];
  const by = byId("by").value.trim(), when = by ? `${new Date().toISOString().slice(0, 16)}Z` : "";
  set([[number, { ...markOf(number), decision, label, by, when }]]);
  say(`${shown.ids[number]}: ${decision}${label ? ` to ${label}` : ""}.`);
  const before = list.length;
  refresh(number);
  if (list.length === before && list[current] === number) select(current + 1);
}

function undo() {
  const changes = undoable.pop();
  if (!changes) return say("Nothing to undo.");
  put(changes);
  if (changes.length === 1) refresh(changes[0][0]);
  else filter(list[current]);
  say(changes.length === 1 ? `Undone: ${shown.ids[changes[0][0]]}.` : `Undone: ${changes.length} samples.`);
}

// ---- decisions.csv

const HEADER = ["id", "given_label", "decision", "label", "note"];
const OPTIONAL = ["by", "when"];
const DECISIONS = ["keep", "relabel", "ambiguous", "remove"];

// As in the other tables of memtrack, an apostrophe goes before what a spreadsheet would take as a formula.
const guarded = (text) => (/^[=+\-@\t\r'\uff1d\uff0b\uff0d\uff20]/.test(text) ? `'${text}` : text);
const unguarded = (text) => text.replace(/^'/, "");

function csv() {
  const cell = (text) => (/[",\r\n]/.test(text) ? `"${guarded(text).replaceAll('"', '""')}"` : guarded(text));
  const rows = [...marks].filter(([, mark]) => mark.decision).map(([id, mark]) => [numberOf.get(id), mark]);
  rows.sort((one, other) => inTest(one[0]) - inTest(other[0]) || first.ranks[one[0]] - first.ranks[other[0]]);
  const known = OPTIONAL.filter((name) => rows.some(([, mark]) => mark[name]));
  const lines = rows.map(([number, mark]) => [shown.ids[number], labelled(given[number]), mark.decision, mark.label, mark.note,
    ...known.map((name) => mark[name])]);
  return [[...HEADER, ...known], ...lines].map((row) => `${row.map(cell).join(",")}\n`).join("");
}

function download() {
  const link = element("a", { download: "decisions.csv" });
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  say("decisions.csv was exported.");
}

/** The rows of a CSV file (RFC 4180), each with the line that it begins in; a quote that stays open throws. */
function rowsOf(text) {
  const rows = [];
  let cells = [], cell = "", quoted = false, at = 0, lineNumber = 1, begins = 1;
  const end = () => {
    cells.push(cell);
    if (cells.length > 1 || cell) rows.push({ cells, line: begins });
    [cells, cell, begins] = [[], "", lineNumber + 1];
  };
  for (text = text.replace(/^\ufeff/, ""); at < text.length; at++) {
    const sign = text[at];
    if (quoted) {
      if (sign === '"' && text[at + 1] === '"') cell += text[at++];
      else if (sign === '"') quoted = false;
      else cell += sign;
    } else if (sign === '"' && cell === "") quoted = true;
    else if (sign === ",") [cells, cell] = [[...cells, cell], ""];
    else if (sign === "\n") end();
    else if (sign !== "\r" || text[at + 1] !== "\n") cell += sign;
    if (sign === "\n") lineNumber++;
  }
  if (quoted) throw new Error(`Line ${begins}: a quote is not closed.`);
  if (cell || cells.length) end();
  return rows;
}

/** The changes that a decisions.csv asks for; throws an error with a sentence about the first mistake. */
function changesOf(text) {
  const rows = rowsOf(text), head = rows.shift()?.cells ?? [];
  const places = [...HEADER, ...OPTIONAL].map((name) => head.indexOf(name));
  for (const name of ["id", "decision"]) {
    if (!head.includes(name)) throw new Error(`Line 1: the column ${name} is missing; expected ${HEADER.join(",")}.`);
  }
  const seen = new Map();
  return rows.map(({ cells, line: at }) => {
    const mistake = (what) => new Error(`Line ${at}: ${what}.`);
    if (cells.length !== head.length) throw mistake(`${cells.length} cells, but the header has ${head.length}`);
    const [id, was, decision, label, note, by, when] = places.map((place) => unguarded(cells[place] ?? ""));
    const number = numberOf.get(id);
    if (number === undefined) throw mistake(`there is no sample “${id}” on this page`);
    if (seen.has(id)) throw mistake(`“${id}” is decided in line ${seen.get(id)} already`);
    seen.set(id, at);
    if (!DECISIONS.includes(decision)) throw mistake(`the decision “${decision}” is none of ${DECISIONS.join(", ")}`);
    if (was && was !== labelled(given[number])) throw mistake(`“${id}” is labelled “${labelled(given[number])}” here, not “${was}”`);
    if (decision === "relabel" && !data.classes.includes(label)) throw mistake(`there is no label “${label}”`);
    if (decision === "relabel" && label === labelled(given[number])) throw mistake(`“${id}” has the label “${label}” already`);
    if (decision !== "relabel" && label) throw mistake(`a label needs the decision relabel, not ${decision}`);
    return [number, { decision, label, note, by, when }];
  });
}

async function read(file) {
  try {
    const changes = changesOf(await file.text());
    if (changes.length) set(changes);
    filter(list[current]);
    say(`Imported from ${file.name}: ${whole.format(changes.length)}.`);
  } catch (error) {
    say(`Nothing was imported. ${error.message}`);
  }
}

// ---- order and filters

const form = byId("filters");
let list = [], current = 0, order = first;

function options(select, names) {
  select.append(...names.map(([value, text]) => element("option", { value, text })));
}

function fillFilters() {
  const { elements } = form;
  options(elements.order, scores.map((score, at) => [String(at), score.title]));
  const classes = data.classes.map((name, at) => [String(at), name]);
  options(elements.given, [["", "all"], ...classes]);
  options(elements.suggested, [["", "all"], ["-1", "none"], ...classes]);
  options(elements.kind, data.kinds.map((name, at) => [String(at), name || "neither"]).reverse());
  options(elements.issue, data.issues.length ? [["any", "any"], ...data.issues.map(({ bit, title }) => [String(bit), title])] : []);
  elements.issue.closest("label").hidden = !data.issues.length;
  elements.memorized.closest("label").hidden = !memorization;
  elements.memorized.options[1].text = `memorized (above ${data.memorized})`;
  elements.corrupted.closest("label").hidden = !clean;
  elements.split.closest("label").hidden = !data.tests;
  elements.duplicates.closest("label").hidden = !group;
  if (words) elements.id.closest("label").firstChild.textContent = "Id or text contains ";
}

/** Show the samples that these filters alone let through. */
function only(values) {
  form.reset();
  for (const [name, value] of Object.entries(values)) form.elements[name].value = value;
  filter();
  byId("review").focus();
}

/** Apply the order and the filters; select the sample `number`, or else what has taken its place. */
function filter(number = null) {
  const { elements } = form, value = (name) => elements[name].value;
  order = scores[Number(value("order"))];
  const bound = (name, other) => (value(name) === "" ? other : Number(value(name)));
  const least = bound("least", -Infinity), most = bound("most", Infinity), text = value("id").toLowerCase();
  const bounded = least > -Infinity || most < Infinity;
  const wanted = value("split") === "test";
  const fits = (at) => {
    if (inTest(at) !== wanted) return false;
    if (value("given") !== "" && given[at] !== Number(value("given"))) return false;
    if (value("suggested") !== "" && suggested[at] !== Number(value("suggested"))) return false;
    if (value("kind") !== "" && kind[at] !== Number(value("kind"))) return false;
    if (bounded && !(order.values[at] >= least && order.values[at] <= most)) return false;
    if (clean && value("corrupted") !== "" && (!flagged(at) || (given[at] !== clean[at]) !== (value("corrupted") === "1"))) return false;
    if (group && value("duplicates") !== "") {
      const has = { group: group[at] > 0, conflict: conflicting[at] > 0, none: group[at] === 0 };
      if (!has[value("duplicates")]) return false;
    }
    if (memorization && value("memorized") !== "") {
      const measured = Number.isNaN(memorization[at]) ? "unknown" : memorization[at] > data.memorized ? "1" : "0";
      if (measured !== value("memorized")) return false;
    }
    if (value("issue") !== "" && !(value("issue") === "any" ? issues[at] : (issues[at] >> Number(value("issue"))) & 1)) return false;
    if (value("decision") !== "") {
      const { decision } = markOf(at);
      if (value("decision") === "none" ? decision : value("decision") === "any" ? !decision : decision !== value("decision")) return false;
    }
    return !text || shown.ids[at].toLowerCase().includes(text) || readable(at).toLowerCase().includes(text);
  };
  list = [...shown.ids.keys()].filter(fits);
  const { values } = order;
  if (order !== first) {
    const size = (at) => (Number.isNaN(values[at]) ? -Infinity : values[at]);
    list.sort((one, other) => size(other) - size(one) || one - other);
  }
  byId("count").textContent = `${whole.format(list.length)} of ${whole.format(wanted ? total - trains : trains)} ${wanted ? "test " : ""}samples`;
  const place = number === null ? -1 : list.indexOf(number);
  current = place >= 0 ? place : number === null ? 0 : Math.min(current, Math.max(0, list.length - 1));
  layout();
  if (number !== null) select(current);
}

/** Show the new mark of a sample; it may no longer fit the filters. */
function refresh(number) {
  const place = list.indexOf(number);
  if (form.elements.decision.value !== "" || place < 0) return filter(number);
  cards.get(place)?.remove();
  cards.delete(place);
  select(place);
}

// ---- gallery: only the cards near the window exist

const gallery = byId("gallery");
const NARROWEST = 296, CARD = 280, GAP = 10;
let columns = 1, cards = new Map(), waiting = false;

function layout() {
  const width = gallery.clientWidth;
  columns = Math.max(1, Math.floor((width + GAP) / (NARROWEST + GAP)));
  gallery.style.height = `${Math.max(1, Math.ceil(list.length / columns)) * (CARD + GAP)}px`;
  for (const made of cards.values()) made.remove();
  cards = new Map();
  show();
}

function show() {
  waiting = false;
  const above = -gallery.getBoundingClientRect().top, high = CARD + GAP;
  const from = Math.max(0, (Math.floor(above / high) - 1) * columns);
  const until = Math.min(list.length, (Math.ceil((above + window.innerHeight) / high) + 1) * columns);
  const wanted = (place) => (place >= from && place < until) || place === current;
  for (const [place, made] of cards) {
    if (!wanted(place)) {
      made.remove();
      cards.delete(place);
    }
  }
  for (let place = from; place < until; place++) add(place);
  if (list.length) add(current);
  mark();
}

function add(place) {
  if (cards.has(place)) return;
  const made = card(place), width = (gallery.clientWidth - GAP * (columns - 1)) / columns;
  made.style.width = `${width}px`;
  made.style.left = `${(place % columns) * (width + GAP)}px`;
  made.style.top = `${Math.floor(place / columns) * (CARD + GAP)}px`;
  cards.set(place, made);
  gallery.append(made);
}

function mark() {
  for (const [place, made] of cards) made.setAttribute("aria-selected", String(place === current));
  if (list.length) gallery.setAttribute("aria-activedescendant", `card-${list[current]}`);
  else gallery.removeAttribute("aria-activedescendant");
  const other = list.length ? suggested[list[current]] : -1;
  byId("suggestion").textContent = labelled(other);
  document.querySelector("[data-action=relabel]").setAttribute("aria-disabled", String(other < 0));
}

function select(place) {
  if (!list.length) return;
  current = Math.max(0, Math.min(place, list.length - 1));
  const top = gallery.getBoundingClientRect().top + Math.floor(current / columns) * (CARD + GAP);
  const low = window.innerHeight - byId("actions").offsetHeight - GAP;
  if (top < GAP) window.scrollBy(0, top - GAP);
  else if (top + CARD > low) window.scrollBy(0, Math.min(top + CARD - low, top - GAP));
  show();
}

function badge({ decision, label }) {
  return element("span", { class: `badge ${decision}`, text: decision === "relabel" ? `wrong: ${label}` : decision });
}

/** Whether the probability that its label is wrong was learned. */
const isLearned = (number) => Boolean(mislabelled) && !Number.isNaN(mislabelled[number]);

function suggestion(number) {
  if (suggested[number] < 0) return "no other label is suggested";
  const chance = suggestedProbability && isLearned(number) ? `, ${percent(suggestedProbability[number])}` : "";
  return `suggested ${labelled(suggested[number])}${chance}`;
}

/** What else is wrong with an image; "" if nothing is. */
const wrong = (number) => (issues ? data.issues.filter(({ bit }) => (issues[number] >> bit) & 1).map(({ title }) => title).join(", ") : "");
const SEEMS = { conflicting: "conflicting duplicate", outvoted: "another label has more votes" };
const seems = (number) => SEEMS[data.kinds[kind[number]]] || `seems ${data.kinds[kind[number]]}`;

function rank(number) {
  return `#${whole.format(first.ranks[number])}`;
}

function card(place) {
  const number = list[place], id = shown.ids[number], decided = markOf(number);
  const facts = [
    element("div", {}, element("strong", { text: rank(number) }), ` ${id}`),
    element("div", { class: "labels" }, "given ", element("strong", { text: labelled(given[number]) })),
    element("div", { text: suggestion(number) }),
  ];
  if (isLearned(number)) facts.push(element("div", { text: `label wrong: ${percent(mislabelled[number])}` }));
  const also = [kind[number] ? seems(number) : "", wrong(number)].filter(Boolean).join("; ");
  if (also) facts.push(element("div", { text: also }));
  if (inTest(number)) facts.push(element("div", { class: "quiet", text: "test split" }));
  if (flagged(number)) {
    facts.push(element("div", { class: "quiet", text: given[number] === clean[number] ? "not corrupted" : `corrupted${cleanWords(number, ", was")}` }));
  }
  if (order !== first || !isLearned(number)) facts.push(element("div", { class: "quiet", text: `${order.title} ${short(order.values[number])}` }));
  for (const fact of facts) fact.title = fact.textContent;
  return element("div", {
    class: "card", id: `card-${number}`, role: "option", "data-place": place,
    "aria-setsize": list.length, "aria-posinset": place + 1, "aria-selected": "false",
    "aria-label": `${rank(number)}, ${id}, given ${labelled(given[number])}, ${suggestion(number)}${also ? `, ${also}` : ""}. ${words ? `${readable(number).slice(0, 300)}. ` : ""}${shown.why[number]}` +
      (decided.decision ? ` Decided: ${decided.decision} ${decided.label}` : ""),
  },
  element("div", { class: "top" }, element("div", { class: "frame" }, words ? reading(number) : picture(number, 96), ...(decided.decision ? [badge(decided)] : [])), element("div", { class: "facts" }, ...facts)),
  element("div", { class: "middle" }, spark("margin", number), spark("curvature", number), nearest(number, 32)),
  element("div", { class: "why", text: shown.why[number] }));
}

const spans = Object.fromEntries(Object.entries(trajectories).map(([name, values]) => {
  const some = [], known = trains * data.epochs.length, step = Math.max(1, Math.floor(known / 4000));
  for (let at = 0; at < known; at += step) some.push(levelled(name, values[at]));
  some.push(...data.usual[name].map((value) => levelled(name, value)));
  some.sort((one, other) => one - other);
  const cut = (share) => some[Math.round(share * (some.length - 1))];
  return [name, name === "margin" ? [Math.min(cut(0.01), -1), Math.max(cut(0.99), 1)] : [cut(0.01), cut(0.99)]];
}));

function levelled(name, value) {
  return name === "margin" ? value : Math.log10(Math.max(value, 1e-12));
}

/** A small plot of a quantity over the recorded epochs; dotted is the median of all samples. */
function spark(name, number) {
  const count = data.epochs.length, [low, high] = spans[name];
  const x = scale(data.epochs[0], data.epochs.at(-1), 2, 98), y = scale(low, high, 42, 2);
  const points = (values) => values.map((value, at) => [x.place(data.epochs[at]),
    Math.max(1, Math.min(43, y.place(levelled(name, value))))]);
  const own = Array.from(trajectories[name].subarray(number * count, (number + 1) * count));
  if (inTest(number) && name !== "margin") return element("div", { class: "spark" }); // nothing else was recorded
  const usual = inTest(number) ? data.usual_test : data.usual[name];
  const svg = drawn("svg", { viewBox: "0 0 100 44", preserveAspectRatio: "none", "aria-hidden": "true" });
  if (name === "margin") svg.append(drawn("path", { class: "axis", d: `M0 ${y.place(0)}H100` }));
  svg.append(stroke("usual", points(usual)), stroke(`curve ${name === "margin" ? "c0" : "c2"}`, points(own)));
  return element("div", { class: "spark" }, name, svg);
}

/** The image with a number: its own number, its id and its class. */
const known = (other) => ({
  other,
  id: other < total ? shown.ids[other] : data.others.ids[other - total],
  label: other < total ? given[other] : otherGiven[other - total],
});

/** The nearest neighbours of a sample, each with its number, its id and its class. */
function near(number) {
  return Array.from(neighbours.subarray(number * NEAREST, (number + 1) * NEAREST)).filter((other) => other >= 0).map(known);
}

/** An image with its label below it, which is red if it is not that of the sample `number`. */
function mate({ other, id, label }, number, side) {
  const name = element("div", { text: labelled(label) });
  if (label !== given[number]) name.className = "other";
  const text = readable(other).slice(0, 300);
  return element("div", { title: `${id}: ${labelled(label)}${text ? `\n${text}` : ""}` }, element("div", { class: "frame" }, picture(other, side)), name);
}

function nearest(number, side) {
  const made = element("div", { class: "near" });
  made.style.setProperty("--side", `${side}px`);
  made.append(...near(number).map((one) => mate(one, number, side)));
  return made;
}

// ---- dialogs

function openChoice() {
  if (!list.length) return;
  const number = list[current], labels = byId("labels");
  labels.replaceChildren(...data.classes.map((name, at) => {
    const made = element("option", { value: String(at), text: name });
    made.disabled = at === given[number];
    return made;
  }));
  const start = suggested[number] >= 0 ? suggested[number] : given[number] === 0 ? 1 : 0;
  labels.value = String(start);
  byId("choice-of").textContent = `${shown.ids[number]}, given ${labelled(given[number])}`;
  byId("choice").returnValue = "";
  byId("choice").showModal();
  labels.focus();
}

function openDetails(note = false) {
  if (!list.length) return;
  const number = list[current];
  byId("details-heading").textContent = `${rank(number)} ${shown.ids[number]}`;
  const rows = scores.filter((score) => !inTest(number) || !Number.isNaN(score.values[number])).map((score) => [score.title,
    short(score.values[number]), score.ranks ? whole.format(score.ranks[number]) : ""]);
  const facts = [`given ${labelled(given[number])}; ${suggestion(number)}${kind[number] ? `; ${seems(number)}` : ""}`, shown.why[number]];
  if (inTest(number)) facts.push("It is in the test split: no network was trained on it.");
  if (memorization && !inTest(number)) facts.push(`Measured memorization: ${short(memorization[number])}.`);
  if (flagged(number)) facts.push(given[number] === clean[number] ? "The label is not corrupted." : `The label is corrupted${cleanWords(number, "; it was")}.`);
  const mates = near(number).map(({ id, label }) => `${id} (${labelled(label)})`);
  if (mates.length) facts.push(`Nearest neighbours: ${mates.join("; ")}.`);
  if (wrong(number)) facts.push(`The ${words ? "sample" : "image"} is ${wrong(number)}.`);
  const decided = markOf(number);
  const same = [], others = near(number).map(({ other, id, label }) => [`nearest: ${id} (${labelled(label)})`, other]);
  if (leak && leak[number] >= 0) {
    const made = element("div", { class: "near test" }, mate(known(leak[number]), number, 72));
    made.style.setProperty("--side", "72px");
    if (words) others.push([`in the test split (${labelled(known(leak[number]).label)})`, leak[number]]);
    same.push(element("figure", {}, element("figcaption", { text: "in the test split" }), made));
  }
  byId("details-body").replaceChildren(
    ...(words ? [compared([[`this sample (${labelled(given[number])})`, number], ...others.filter(([, other]) => cellsOf(other).length)])] : []),
    element("div", { class: "wide" }, ...(words ? [] : [element("div", { class: "frame big" }, picture(number, window.innerWidth < 640 ? 120 : 200))]),
      spark("margin", number), spark("curvature", number), nearest(number, 72), ...same),
    ...facts.map((text) => element("p", { text })),
    element("p", {}, ...(decided.decision ? [badge(decided), [decided.by && ` by ${decided.by}`, decided.when && ` at ${decided.when}`].filter(Boolean).join("")] : ["Not decided yet."])));
  byId("details-scores").replaceChildren(table(["Scores of this sample", "score", "value", "rank"], rows));
  byId("note").value = decided.note;
  byId("details").showModal();
  byId("details").scrollTop = 0;
  byId(note ? "note" : "close").focus({ preventScroll: !note });
}

byId("choice").addEventListener("close", () => {
  if (byId("choice").returnValue === "ok" && byId("labels").value !== "") decide("relabel", labelled(Number(byId("labels").value)));
  gallery.focus({ preventScroll: true });
});
byId("labels").addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  byId("choice").close("ok");
});
byId("labels").addEventListener("dblclick", () => byId("choice").close("ok"));
byId("details").addEventListener("close", () => {
  const number = list[current], before = markOf(number), note = byId("note").value.trim();
  if (note !== before.note) {
    set([[number, { ...before, note }]]);
    say(`${shown.ids[number]}: the note is kept${before.decision ? "" : ", and exported once there is a decision"}.`);
  }
  gallery.focus({ preventScroll: true });
});

// ---- keys and buttons

const actions = {
  keep: () => decide("keep"),
  relabel: () => {
    const other = list.length ? suggested[list[current]] : -1;
    if (other < 0) say("No other label is suggested: choose one with l.");
    else decide("relabel", labelled(other));
  },
  choose: openChoice,
  ambiguous: () => decide("ambiguous"),
  remove: () => decide("remove"),
  undo,
  details: () => openDetails(),
  note: () => openDetails(true),
};
const KEYS = { k: "keep", w: "relabel", l: "choose", a: "ambiguous", r: "remove", u: "undo", n: "note" };
const page = () => Math.max(1, Math.floor(window.innerHeight / (CARD + GAP)) - 1) * columns;
const MOVES = {
  ArrowLeft: () => current - 1, ArrowRight: () => current + 1, ArrowUp: () => current - columns, ArrowDown: () => current + columns,
  Home: () => 0, End: () => list.length - 1, PageUp: () => current - page(), PageDown: () => current + page(),
};

byId("review").addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, summary")) return;
  const move = MOVES[event.key], action = KEYS[event.key.toLowerCase()];
  if (move) {
    const place = move();
    if (event.key.startsWith("Arrow") && (place < 0 || place >= list.length)) {
      event.preventDefault();
      return;
    }
    select(place);
  } else if (event.key === "Enter" && event.target === gallery) actions.details();
  else if (action) actions[action]();
  else return;
  event.preventDefault();
  if (event.target === byId("review")) gallery.focus({ preventScroll: true });
});
byId("buttons").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) actions[button.dataset.action]();
});
gallery.addEventListener("click", (event) => {
  const chosen = event.target.closest(".card");
  if (chosen) select(Number(chosen.dataset.place));
  gallery.focus({ preventScroll: true });
});
gallery.addEventListener("dblclick", () => actions.details());
form.addEventListener("input", () => filter());
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(filter));
byId("export").addEventListener("click", download);
byId("import").addEventListener("click", () => byId("file").click());
byId("file").addEventListener("change", () => {
  const [file] = byId("file").files;
  if (file) read(file);
  byId("file").value = "";
});
window.addEventListener("scroll", () => {
  if (!waiting) requestAnimationFrame(show);
  waiting = true;
}, { passive: true });
new ResizeObserver(() => {
  if (gallery.clientWidth !== laidOut) {
    laidOut = gallery.clientWidth;
    layout();
  }
}).observe(gallery);
let laidOut = gallery.clientWidth;
window.addEventListener("beforeunload", (event) => {
  if (!kept && marks.size) event.preventDefault();
});

// MLflow's viewer lays its frame out after the page has loaded, and a phone is turned.
const wide = window.matchMedia("(min-width: 640px)");
const showFilters = () => { byId("filter-box").open = wide.matches; };
wide.addEventListener("change", showFilters);
showFilters();
document.body.classList.toggle("read", Boolean(words));
byId("loading").remove();
document.querySelector("main").hidden = false;
overview();
restore();
fillFilters();
filter();
say("");
