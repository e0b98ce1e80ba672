// The charts of the page: SVG drawn by hand. It is included in page.html, after page.js.

// Each chart: title, the series, a second one that is dashed, whether its scale is logarithmic.
const GROUP_CHARTS = [["stability margin, nats per step (dashed: least ahead)", "margin", "margin_ahead", false], ["learning rate", "lr", null, false],
  ["exponent", "exponent of stage 1", null, false], ["spread of gradients, decades", "gradient_spread", null, false],
  ["spread of updates, decades", "update_spread", null, false]];
const TENSOR_CHARTS = [["gradient RMS, loss per weight", "gradient_rms", null, true], ["relative step, |lr * update| / |weight|", "update_ratio", null, true],
  ["largest update, weights per learning rate (dashed: its bound)", "largest_update", "bound", true], ["weight RMS", "parameter_rms", null, true],
  ["zero gradients, share of the elements", "zero_fraction", null, false], ["gradients not finite, share of the elements", "nonfinite_fraction", null, false],
  ["norm / the norm that updates predict", "norm_ratio", null, false]];
const MAY_BE_INFINITE = /\/(margin|margin_ahead|lr)$|^(bound|norm_ratio)\//;

function showCharts() {
  const names = [...new Set(runs.flatMap(run => run ? [...run.curves[0].series.keys()] : []))];
  const metrics = names.filter(name => name.startsWith("metrics/"));
  const wanted = metrics.map(name => ["metrics", brief(name.slice("metrics/".length)), name, null, element("log").checked]);
  for (const [title, name, second, log] of GROUP_CHARTS) wanted.push(["group-charts", title, `group ${choice.group}/${name}`, second && `group ${choice.group}/${second}`, log]);
  for (const [title, name, second, log] of TENSOR_CHARTS) wanted.push(["tensor-charts", title, `${name}/${choice.tensor}`, second && `${second}/${choice.tensor}`, log]);
  element("group-title").textContent = `Parameter group ${choice.group}`;
  element("tensor-title").textContent = brief(choice.tensor) || "Tensor";
  element("tensor-title").title = text(choice.tensor);
  const keys = new Set();
  for (const [place, title, name, second, log] of wanted) {
    const key = `${place}/${place === "metrics" ? name : title}`;
    keys.add(key);
    if (!charts.has(key)) charts.set(key, newChart(element(place), place === "metrics" ? text(name.slice("metrics/".length)) : title));
    const chart = charts.get(key);
    Object.assign(chart, {title, name, second, log});
    draw(chart);
  }
  for (const [key, chart] of charts) if (!keys.has(key)) { chart.figure.remove(); charts.delete(key); }
}

function newChart(parent, wholeTitle) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("role", "img");
  svg.setAttribute("tabindex", "0");
  const readout = make("figcaption");
  const figure = make("figure", {}, make("h3", {title: wholeTitle}), svg, readout);
  const chart = {figure, svg, readout};
  parent.append(figure);
  const stepAt = event => {
    const box = svg.getBoundingClientRect();
    return Math.round(chart.stepOf?.(event.clientX - box.left) ?? 0);
  };
  svg.onpointerdown = event => { if (event.button === 0) { chart.drag = stepAt(event); svg.setPointerCapture(event.pointerId); } };
  svg.onpointermove = event => { cursor = stepAt(event); showCursor(); };
  svg.onpointerleave = () => { cursor = null; showCursor(); };
  svg.onpointercancel = () => { delete chart.drag; showCursor(); };
  svg.onpointerup = event => {
    const [begin, end] = [chart.drag, stepAt(event)].sort((a, b) => a - b);
    delete chart.drag;
    const [first, last] = span();
    if (end - begin > (last - first) / 100) look(begin, end); else showCursor();
  };
  svg.onkeydown = event => {
    const [first, last] = span(), middle = cursor ?? (first + last) / 2, width = last - first;
    const jump = width / (event.shiftKey ? 200 : 40);
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      cursor = Math.min(last, Math.max(first, Math.round(middle + (event.key === "ArrowLeft" ? -jump : jump))));
      showCursor();
    } else if (event.key === "+" || event.key === "-") {
      const half = width * (event.key === "+" ? 1 / 4 : 1);
      look(Math.max(0, Math.round(middle - half)), Math.round(middle + half));
    } else if (event.key === "Escape") look(null, null);
    else return;
    event.preventDefault();
  };
  return chart;
}

function look(from, to) {
  Object.assign(range, {from, to});
  element("from").value = from ?? "";
  element("to").value = to ?? "";
  for (const run of runs) if (run) run.near = null;
  show();
  lookCloser();
}

// Every reading of a range that is short enough; else the overview is what there is.
let looking = false, again = false;
async function lookCloser() {
  if (!zoomed()) return;
  if (looking) { again = true; return; }
  looking = true;
  const asked = JSON.stringify([range, choice]), [first, last] = span();
  await Promise.all(shownRuns().map(async ([run, number]) => {
    const query = new URLSearchParams({show: JSON.stringify(choice), of: number, first: Math.floor(first), last: Math.ceil(last)});
    try {
      const found = await (await fetch(`window?${query}`)).json();
      if (asked !== JSON.stringify([range, choice])) return;
      run.near = found?.map(part => {
        const curves = noCurves();
        takeBuckets(curves, part);
        return curves;
      });
    } catch { /* the connection is lost, which its own line says; the overview stays */ }
  }));
  looking = false;
  changed();
  if (again) { again = false; lookCloser(); }
}

// The buckets of a series within the steps shown, as few as there are columns of pixels, in pieces of which each is drawn as
// a line: what the run kept, and every attempt that was abandoned, from the bucket on where it began.
function pieces(run, name, [first, last], width) {
  const from = (run.near ?? run.curves).find(({series}) => series.has(name)), series = from?.series.get(name), kept = {abandoned: false, points: []}, found = [kept];
  if (!series) return found;
  const nonfinite = new Set(series.nonfinite);
  const add = ({points}, bucket) => {
    const [begin, end] = [from.steps[0][bucket], from.steps[1][bucket]];
    const low = series.low[bucket], high = series.high[bucket], wrong = nonfinite.has(bucket);
    if (end < first || begin > last || (low === null && !wrong)) return;
    const place = Math.floor(width * (begin - first) / (last - first)), column = points.at(-1);
    if (column?.place === place) {
      column.end = end;
      column.wrong ||= wrong;
      if (low !== null) {
        column.low = column.low === null ? low : Math.min(column.low, low);
        column.high = column.high === null ? high : Math.max(column.high, high);
      }
    } else points.push({place, begin, end, low, high, wrong});
  };
  for (let bucket = 0; bucket < from.steps[0].length; bucket++) {
    const follows = bucket > 0 && from.steps[0][bucket] > from.steps[1][bucket - 1];
    if (!from.abandoned.has(bucket)) add(kept, bucket);
    else {
      if (!follows || !from.abandoned.has(bucket - 1)) {
        found.push({abandoned: true, points: []});
        if (follows) add(found.at(-1), bucket - 1);
      }
      add(found.at(-1), bucket);
    }
  }
  return found.filter(piece => piece === kept || piece.points.length);
}

// A mark of an axis is a round number, and has few digits; those of neighbours differ in the last.
const exact = mark => mark === 0 || (Math.abs(mark) >= 1e-3 && Math.abs(mark) < 1e5) ? String(mark) : mark.toExponential().replace("e+", "e");

function ticks(low, high, count) {
  const power = 10 ** Math.floor(Math.log10((high - low) / count));
  const step = power * [1, 2, 5, 10].find(factor => (high - low) / (power * factor) <= count);
  const first = Math.ceil(low / step - 1e-9), number = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({length: Math.max(0, number)}, (_, index) => Number(((first + index) * step).toPrecision(12)));
}

// Of a logarithmic axis from 10^low to 10^high: powers of ten, between them 2 and 5, as many as there is room for.
function logarithmicTicks(low, high) {
  const decades = Array.from({length: Math.floor(high) - Math.floor(low) + 1}, (_, index) => Math.floor(low) + index);
  const inside = value => Math.log10(value) >= low && Math.log10(value) <= high;
  const fine = decades.flatMap(power => [1, 2, 5].map(factor => Number(`${factor}e${power}`))).filter(inside);
  if (fine.length < 2) return ticks(10 ** low, 10 ** high, 5);
  const powers = fine.filter(value => value === 10 ** Math.round(Math.log10(value)));
  return fine.length <= 6 ? fine : powers.filter((_, index) => index % Math.ceil(powers.length / 5) === 0);
}

// From the lowest to the highest value; without those beyond the outermost hundredth, if they would take most of the room.
function extent(values) {
  if (!values.length) return [0, 1];
  const sorted = values.sort((a, b) => a - b), at = part => sorted[Math.round(part * (sorted.length - 1))];
  let [low, high] = [sorted[0], sorted.at(-1)];
  const [bottom, top] = [at(0.01), at(0.99)];
  if (element("cut").checked && sorted.length > 20 && top > bottom) {
    if (high - top > 2 * (top - bottom)) high = top + 0.3 * (top - bottom);
    if (bottom - low > 2 * (top - bottom)) low = bottom - 0.3 * (top - bottom);
  }
  if (low === 0 && high === 0) high = 1;
  else if (high - low < 1e-12 * Math.max(1, Math.abs(high))) [low, high] = [low - (0.5 * Math.abs(low) || 0.5), high + (0.5 * Math.abs(high) || 0.5)];
  const room = 0.06 * (high - low);
  return [low - room, high + room];
}

function draw(chart) {
  const {svg, figure} = chart, [first, last] = span(), width = svg.clientWidth, height = svg.clientHeight;
  const names = [chart.name, chart.second].filter(Boolean), edge = {left: 58, right: 8, top: 16, bottom: 22};
  const inside = width - edge.left - edge.right;
  const curves = shownRuns().flatMap(([run, number]) => names.flatMap((name, index) =>
    pieces(run, name, [first, last], inside).map(piece => ({run, number, name, second: index > 0, ...piece}))));
  const ends = curves.flatMap(({abandoned, points}) => points.flatMap(({low, high}) => low === null ? [] : [[low, abandoned], [high, abandoned]]));
  const values = ends.map(([value]) => value);
  const strange = curves.some(({name, points}) => !MAY_BE_INFINITE.test(name) && points.some(point => point.wrong));
  figure.hidden = !values.length && !strange;
  if (figure.hidden || width === 0) return;
  figure.querySelector("h3").textContent = chart.title;
  const logarithmic = chart.log && values.length > 0 && values.every(value => value > 0);
  const scaled = value => logarithmic ? Math.log10(value) : value, least = lowest(values.map(scaled)), most = highest(values.map(scaled));
  // What was abandoned was often far off: like a spike, it may be cut.
  const [bottom, top] = extent(ends.flatMap(([value, abandoned]) => abandoned && element("cut").checked ? [] : [scaled(value)]));
  const x = step => edge.left + (step - first) / (last - first) * inside;
  const y = value => height - edge.bottom - (scaled(value) - bottom) / (top - bottom) * (height - edge.top - edge.bottom);
  chart.stepOf = place => Math.min(last, Math.max(first, first + (place - edge.left) / inside * (last - first)));
  const nodes = [], add = (name, attributes, text = "") => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.textContent = text;
    nodes.push(node);
    return node;
  };
  for (const mark of logarithmic ? logarithmicTicks(bottom, top) : ticks(bottom, top, 4)) {
    add("path", {class: "grid", d: `M${edge.left} ${y(mark).toFixed(1)}H${width - edge.right}`});
    add("text", {x: edge.left - 5, y: (y(mark) + 4).toFixed(1), "text-anchor": "end"}, exact(mark));
  }
  if (chart.name.endsWith("/margin") && bottom < 0 && top > 0) add("path", {class: "zero", d: `M${edge.left} ${y(0).toFixed(1)}H${width - edge.right}`});
  for (const mark of ticks(first, last, Math.max(2, inside / 60))) {
    const text = mark >= 1e6 ? `${Number((mark / 1e6).toPrecision(4))}M` : mark.toLocaleString("en-US");
    add("text", {x: Math.min(x(mark), width - 4 * text.length).toFixed(1), y: height - 6, "text-anchor": "middle"}, text);
  }
  const clip = `clip-${[...charts.values()].indexOf(chart)}`, area = add("clipPath", {id: clip});
  const box = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  for (const [key, value] of Object.entries({x: edge.left, y: edge.top, width: Math.max(0, inside), height: height - edge.top - edge.bottom})) box.setAttribute(key, value);
  area.append(box);
  const bounded = value => Math.max(-9999, Math.min(9999, y(value))).toFixed(1);
  for (const {number, name, second, abandoned, points} of curves) {
    let path = "", pen = "M", level = null;
    for (const point of points) {
      if (point.low === null) { pen = "M"; continue; }
      const place = (x((point.begin + point.end) / 2)).toFixed(1);
      const ends = point.low === point.high ? [point.low] : level !== null && level > (point.low + point.high) / 2 ? [point.high, point.low] : [point.low, point.high];
      for (const value of ends) { path += `${pen}${place} ${bounded(value)}`; pen = "L"; }
      level = ends.at(-1);
    }
    if (points.length === 1 && path) path += "h3";
    const line = add("path", {class: `curve${second ? " second" : ""}${abandoned ? " abandoned" : ""}`, d: path, "clip-path": `url(#${clip})`});
    line.style.stroke = colour(number);
    if (MAY_BE_INFINITE.test(name)) continue;
    let taken = -Infinity;
    for (const point of points.filter(point => point.wrong)) {
      const place = x((point.begin + point.end) / 2);
      if (place < taken + 5) continue;
      taken = place;
      const mark = add("text", {x: place.toFixed(1), y: edge.top - 3, "text-anchor": "middle", class: abandoned ? "wrong abandoned" : "wrong"}, "\u2715");
      mark.style.fill = runs.length > 1 ? colour(number) : "var(--bad)";
    }
  }
  add("path", {class: "cursor"});
  add("rect", {class: "drag", height: 0, width: 0});
  svg.replaceChildren(...nodes);
  const unscaled = value => short(logarithmic ? 10 ** value : value);
  chart.cut = most > top ? `Cut: up to ${unscaled(most)}.` : least < bottom ? `Cut: down to ${unscaled(least)}.` : "";
  Object.assign(chart, {x, curves, edge, height});
  const newest = curves.filter(({abandoned, points}) => !abandoned && points.length).map(({run, second, points}) => `${label(run.info)}${second ? ", dashed" : ""} ${reading(points.at(-1))}`);
  svg.setAttribute("aria-label", `${chart.title}, steps ${whole(first)} to ${whole(last)}. Newest: ${newest.join("; ")}. ${chart.cut}`);
  showCursorOf(chart);
}

const reading = ({low, high, wrong}) => `${low === null ? "" : low === high ? short(low) : `${short(low)} to ${short(high)}`}${wrong ? `${low === null ? "" : ", "}not finite` : ""}`;

function showCursor() {
  for (const chart of charts.values()) if (chart.curves && !chart.figure.hidden) showCursorOf(chart);
}

function showCursorOf(chart) {
  const {svg, readout, curves, x, edge, height, cut} = chart, line = svg.querySelector(".cursor"), drag = svg.querySelector(".drag");
  const active = chart.drag !== undefined && cursor !== null;
  drag.setAttribute("x", active ? Math.min(x(chart.drag), x(cursor)) : 0);
  drag.setAttribute("y", edge.top);
  drag.setAttribute("width", active ? Math.abs(x(chart.drag) - x(cursor)) : 0);
  drag.setAttribute("height", active ? height - edge.top - edge.bottom : 0);
  if (cursor === null) {
    line.setAttribute("d", "");
    readout.replaceChildren(cut);
    return;
  }
  line.setAttribute("d", `M${x(cursor).toFixed(1)} ${edge.top}V${height - edge.bottom}`);
  const there = curves.filter(({abandoned, points}) => points.length && (!abandoned || points[0].begin <= cursor && cursor <= points.at(-1).end));
  const parts = there.map(({run, number, second, abandoned, points}) => {
    const distance = point => Math.max(point.begin - cursor, cursor - point.end, 0);
    const near = points.reduce((best, point) => distance(point) < distance(best) ? point : best);
    const which = `${runs.length > 1 ? `${label(run.info)} ` : ""}${second ? "(dashed) " : ""}${abandoned ? "(abandoned) " : ""}`;
    const part = make("span", {textContent: `${which}${reading(near)}; `});
    part.style.color = colour(number);
    return part;
  });
  readout.replaceChildren(`step ${whole(cursor)}: `, ...parts, cut);
}
