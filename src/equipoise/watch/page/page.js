// What the page shows of runs, but for the charts. It is included in page.html.

const COLUMNS = {{ columns | list | tojson }};
const element = id => document.getElementById(id);
const make = (name, attributes = {}, ...children) => {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node[key] = value;
  node.append(...children);
  return node;
};
const short = value => value === null || value === undefined ? "" : typeof value === "string" ? value.replace("inf", "\u221e")
  : value === 0 ? "0" : Math.abs(value) >= 1e-3 && Math.abs(value) < 1e5 ? String(Number(value.toPrecision(4)))
  : value.toExponential(2).replace(/\.?0*e\+?/, "e");
const whole = value => Math.round(value).toLocaleString("en-US");
const lowest = values => values.reduce((least, value) => Math.min(least, value), Infinity);
// Names and messages are from a file. What could turn the direction of writing, or is no character at all, shows as \ufffd; of
// a long name the end is kept, which tells layers apart.
const text = value => String(value).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "\ufffd");
const brief = (name, most = 64) => {
  const letters = [...text(name)], head = Math.floor(most / 3);
  return letters.length <= most ? letters.join("") : `${letters.slice(0, head).join("")}\u2026${letters.slice(head + 1 - most).join("")}`;
};
const highest = values => values.reduce((most, value) => Math.max(most, value), -Infinity);

const runs = [], charts = new Map(), choice = {run: 0, group: 0, tensor: "", metrics: "", tensors: "", page: 0};
const range = {from: null, to: null};
const SILENCE = 7000;  // milliseconds; a server that is there says so every 2 s
let cursor = null, source = null, heard = performance.now(), fed = new Date();

function connect() {
  source?.close();
  source = new EventSource(`updates?${new URLSearchParams({show: JSON.stringify(choice)})}`);
  source.onopen = hear;
  source.addEventListener("alive", hear);
  source.onmessage = event => { hear(); orFail(() => take(JSON.parse(event.data))); };
  source.onerror = event => {
    unfed("Connection lost; trying again");
    if (event.target.readyState === EventSource.CLOSED) setTimeout(() => { if (event.target === source) connect(); }, 2000);
  };
}

function hear() {
  [heard, fed] = [performance.now(), new Date()];
  status("connected", "good");
}

// A page that cannot draw what it gets must not look as if it did.
function orFail(action) {
  try { action(); } catch (error) {
    source.close();
    heard = Infinity;
    unfed(`This page has failed and is to be loaded again: ${text(error)}`);
    throw error;
  }
}

const unfed = why => status(`${why}. This page shows what was known at ${fed.toLocaleTimeString("en-GB")}.`, "bad");

function status(words, kind) {
  const line = element("connection");
  if (line.textContent !== words) line.textContent = words;
  line.className = kind;
}

const noCurves = () => ({steps: [[], []], abandoned: new Set(), series: new Map()});

function take(message) {
  if (runs.length > message.runs) location.reload();  // another server, with other runs
  const run = runs[message.run] ??= {shown: true, curves: [noCurves(), noCurves()], near: null};
  message.curves.forEach((part, index) => takeBuckets(run.curves[index], part));
  delete message.curves;
  run.info = {...run.info, ...message};
  choice.tensor ||= message.tensor;
  changed();
  if (zoomed() && range.to === null) lookCloser();
}

// The arrays end with the buckets that there were; those from part.first on are new or have changed.
function takeBuckets(curves, part) {
  for (const side of [0, 1]) curves.steps[side].splice(part.first, Infinity, ...part.steps[side]);
  curves.abandoned = new Set(part.abandoned);
  if (part.first === 0) curves.series.clear();
  for (const [name, [low, high, nonfinite]] of Object.entries(part.series)) {
    if (!curves.series.has(name)) curves.series.set(name, {low: Array(part.first).fill(null), high: Array(part.first).fill(null), nonfinite: []});
    const series = curves.series.get(name);
    series.low.splice(part.first, Infinity, ...low);
    series.high.splice(part.first, Infinity, ...high);
    series.nonfinite = series.nonfinite.filter(bucket => bucket < part.first).concat(nonfinite);
  }
}

// What comes from the server is drawn at most a fifth of the time; what somebody does here, at once.
let waiting = false, rest = 0;
function changed() {
  if (waiting) return;
  waiting = true;
  setTimeout(() => requestAnimationFrame(() => orFail(show)), Math.max(0, rest - performance.now()));
}

function show() {
  const begin = performance.now();
  waiting = false;
  showRuns(); showControls(); showVerdicts(); showNotes(); showTable(); showCharts();
  rest = performance.now() + 4 * (performance.now() - begin);
}

const zoomed = () => range.from !== null || range.to !== null;
const shownRuns = () => runs.map((run, number) => [run, number]).filter(([run]) => run?.info && run.shown);
const span = () => {
  const known = shownRuns().map(([run]) => run.curves[0].steps).filter(steps => steps[0].length);
  const first = range.from ?? lowest(known.map(steps => lowest(steps[0]))), last = range.to ?? highest(known.map(steps => highest(steps[1])));
  return [first, Math.max(last, first + 1)];
};

// Several runs often have one name, which is that of their model.
const label = info => runs.length > 1 && info.name !== info.folder ? `${brief(info.name, 40)} (${brief(info.folder, 40)})` : brief(info.name);
const colour = number => `var(--run${number % 10})`;

function showRuns() {
  const list = element("runs");
  runs.forEach((run, number) => {
    if (!run?.info) return;
    if (!run.row) {
      const box = make("input", {type: "checkbox", checked: true, onchange: () => { run.shown = box.checked; show(); }});
      const swatch = make("span", {className: "swatch"});
      swatch.style.background = colour(number);
      run.row = {name: make("span", {className: "name"}), state: make("span", {className: "quiet"}), verdict: make("span")};
      const item = make("li", {}, make("label", {}, box, swatch, make("span", {}, run.row.name, " ", run.row.state, " ", run.row.verdict)));
      item.dataset.run = number;
      list.insertBefore(item, [...list.children].find(other => other.dataset.run > number) ?? null);
    }
    const {info} = run, found = current(run), trouble = found.filter(verdict => verdict.severity === "trouble").length;
    run.row.name.textContent = brief(info.name);
    run.row.name.title = text(info.name);
    run.row.verdict.textContent = info.unavailable ? "not followed" : trouble ? "trouble" : found.length ? "warning" : info.step === undefined ? "" : "fine";
    run.row.verdict.className = info.unavailable || trouble ? "bad" : found.length ? "warn" : "good";
    showAge(run);
  });
  document.title = runs.length === 1 ? brief(runs[0].info.name) : `${runs.length} runs`;
}

function showAge(run) {
  const {info} = run, started = new Date(1000 * info.started), parts = [`folder ${brief(info.folder, 40)}`];
  run.row.state.title = text(info.path);
  if (info.optimizer) parts.push(brief(info.optimizer, 40));
  if (info.started !== null) parts.push(`started ${started.toLocaleString("en-GB", {dateStyle: "medium", timeStyle: "short"})}`);
  if (info.step === undefined) parts.push("no readings yet");
  else {
    const seconds = Math.max(0, Date.now() / 1000 - info.time);
    const [unit, length] = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]].find(([, length]) => seconds >= 2 * length) ?? ["s", 1];
    const loop = info.loop_step && info.loop_step !== info.step ? ` (step ${whole(info.loop_step)} of the training loop)` : "";
    parts.push(`step ${whole(info.step)}${loop}, ${Math.round(seconds / length)} ${unit} ago`);
    if (!info.made) parts.push("step not made");
  }
  if (info.progress < 1) parts.push(`a sample; ${Math.round(100 * info.progress)}% read`);
  run.row.state.textContent = parts.join("; ");
}

function options(select, values, chosen) {
  const now = values.map(([value, text]) => `${value}\n${text}`).join("\n");
  if (select.dataset.now !== now) {
    select.dataset.now = now;
    select.replaceChildren(...values.map(([value, text]) => make("option", {value, textContent: text})));
  }
  select.value = chosen;
}

function showControls() {
  element("runs-of-table").hidden = runs.length < 2;
  options(element("run"), runs.flatMap((run, number) => run?.info ? [[number, label(run.info)]] : []), choice.run);
  const groups = highest(runs.map(run => run?.info.groups ?? 0)), metrics = highest(runs.map(run => run?.info.metrics ?? 0));
  element("groups").hidden = groups < 2;
  element("group").max = groups - 1;
  const shown = element("metrics").childElementCount;
  element("metric-controls").hidden = metrics <= shown && !choice.metrics;
  element("metric-count").textContent = `${whole(shown)} of ${whole(metrics)} metrics${choice.metrics ? " with this in their names" : ""} are drawn`;
  element("about-abandoned").hidden = !runs.some(run => run?.curves[0].abandoned.size);
}

const current = run => run.info.verdicts;

function verdictItem(event, run, number) {
  const trouble = event.severity === "trouble" || event.kind === "action";
  const title = make("strong", {textContent: brief(event.verdict ?? event.action), className: trouble ? "bad" : "warn"});
  const where = event.where.length ? ` in ${event.where.map(name => brief(name)).join(", ")}${event.more ? ` and ${whole(event.more)} more` : ""}` : "";
  const when = event.kind === "action" ? ` at step ${whole(event.step)}` : event.since === event.step ? ` at step ${whole(event.step)}`
    : ` from step ${whole(event.since)} to ${whole(event.step)}`;
  const sure = event.confidence === undefined ? "" : `, ${Math.round(100 * event.confidence)}% sure`;
  const item = make("li", {className: trouble ? "bad" : "warn"}, ...owner(run, number), title, `${where}${when}${sure}: ${text(event.message)} `);
  if (event.where.length) item.title = event.where.map(text).join("\n");
  if (event.advice) item.append(make("span", {className: "quiet", textContent: text(event.advice)}));
  return item;
}

function owner(run, number) {
  if (runs.length < 2) return [];
  const name = make("span", {textContent: `${label(run.info)}: `});
  name.style.color = colour(number);
  return [name];
}

// What keeps this page from showing what a run writes.
function problems(run, number) {
  const {unavailable, unreadable, refusals} = run.info, found = [];
  if (unavailable) found.push(["not followed", unavailable]);
  const more = unreadable > refusals.length ? `; and ${whole(unreadable - refusals.length)} more` : "";
  if (unreadable) found.push([`${whole(unreadable)} ${unreadable === 1 ? "line" : "lines"} not shown`, refusals.join("; ") + more]);
  return found.map(([title, why]) => make("li", {className: "bad"}, ...owner(run, number), make("strong", {className: "bad", textContent: title}), `: ${text(why)}`));
}

function replace(parent, signature, makeChildren) {
  if (parent.dataset.now === signature) return;
  parent.dataset.now = signature;
  parent.replaceChildren(...makeChildren());
}

function showVerdicts() {
  const now = shownRuns().flatMap(([run, number]) => current(run).map(event => [event, run, number]));
  now.sort((a, b) => (b[0].severity === "trouble") - (a[0].severity === "trouble"));
  // By step, but what a run wrote after it went back is newer than all before.
  const past = shownRuns().flatMap(([run, number]) => {
    let most = 0;
    return run.info.events.map((event, place) => [event, run, number, most = Math.max(most, event.step), place]);
  });
  past.sort((a, b) => b[3] - a[3] || b[4] - a[4]);
  const wrong = runs.flatMap((run, number) => run?.info ? problems(run, number) : []);
  replace(element("now"), JSON.stringify([runs.some(run => run?.row), wrong.map(item => item.textContent), now.map(([event, , number]) => [number, event])]), () => [
    make("h2", {textContent: now.length ? "Wrong at the newest reading"
      : runs.some(run => run?.row) ? "Nothing is wrong at the newest reading" : "Waiting for the first reading"}),
    make("ul", {className: "verdicts"}, ...wrong, ...now.map(each => verdictItem(...each)))]);
  replace(element("log-of-events"), JSON.stringify(past.map(([event, , number]) => [number, event])), () => past.length
    ? past.slice(0, 100).map(each => verdictItem(...each)) : [make("li", {className: "quiet", textContent: "Nothing yet."})]);
}

// What is known of an optimizer in another way than of those of this package, or not at all.
function showNotes() {
  const notes = shownRuns().flatMap(([run, number]) => run.info.notes.map(note => [note, run, number]));
  element("notes").hidden = !notes.length;
  replace(element("notes"), JSON.stringify(notes.map(([note, , number]) => [number, note])),
    () => notes.map(([note, run, number]) => make("li", {}, ...owner(run, number), text(note))));
}

function showTable() {
  const run = runs[choice.run], tensors = run?.info.tensors, body = element("table").tBodies[0];
  element("table-title").textContent = `All tensors at the newest reading${runs.length > 1 && run ? ` of ${label(run.info)}` : ""}`;
  if (!tensors) return;
  const last = tensors.first + tensors.rows.length, chosen = choice.tensor;
  element("tensor-count").textContent = `${tensors.rows.length ? `${whole(tensors.first + 1)} to ${whole(last)} of ` : ""}${whole(tensors.found)}`
    + (tensors.found < tensors.all ? `; ${whole(tensors.all)} in all` : "");
  element("before").disabled = tensors.page === 0;
  element("after").disabled = last >= tensors.found;
  replace(body, JSON.stringify([tensors, chosen]), () => tensors.rows.map(([name, named, values]) => {
    const button = make("button", {type: "button", textContent: brief(name), title: text(name), className: named ? "bad" : ""});
    button.onclick = () => choose({tensor: name});
    const bound = values[COLUMNS.indexOf("bound")];
    const cells = values.map((value, index) => {
      const kind = COLUMNS[index], percent = kind.endsWith("fraction") && typeof value === "number";
      // A second moment that is NaN in earnest makes the weights NaN in the same step.
      const none = value === "nan" && (kind === "norm_ratio" || kind === "second_moment" && values[COLUMNS.indexOf("parameter_rms")] !== "nan");
      const wrong = typeof value === "string" && !none && !["bound", "norm_ratio"].includes(kind) || kind === "nonfinite_fraction" && value > 0
        || kind === "largest_update" && value > bound;
      const shown = none ? "none" : percent ? `${short(100 * value)}%` : short(value);
      return make("td", {textContent: shown, className: wrong ? "bad" : ""});
    });
    return make("tr", {className: name === chosen ? "chosen" : ""}, make("th", {scope: "row"}, button), ...cells);
  }));
  if (body.dataset.focus !== undefined) [...body.rows].find(row => row.className === "chosen")?.querySelector("button").focus();
  delete body.dataset.focus;
}

function choose(some) {
  if (some.tensor && element("table").contains(document.activeElement)) element("table").tBodies[0].dataset.focus = "";
  Object.assign(choice, some);
  for (const run of runs) if (run) run.near = null;
  connect();
  show();
  lookCloser();
}

// ---- what somebody does here

const number = input => input.value === "" || !input.checkValidity() ? null : Number(input.value);
for (const id of ["from", "to"]) element(id).onchange = () => look(number(element("from")), number(element("to")));
element("all").onclick = () => look(null, null);
for (const id of ["log", "cut"]) element(id).onchange = show;
for (const id of ["controls", "metric-controls", "groups", "tensor-controls"]) element(id).onsubmit = event => event.preventDefault();
element("run").onchange = event => choose({run: Number(event.target.value), tensor: "", page: 0});
element("group").onchange = event => { if (number(event.target) !== null) choose({group: number(event.target)}); };
element("before").onclick = () => choose({page: runs[choice.run].info.tensors.page - 1});
element("after").onclick = () => choose({page: runs[choice.run].info.tensors.page + 1});
let typed = {}, typing = 0;
const later = some => {
  Object.assign(typed, some);
  clearTimeout(typing);
  typing = setTimeout(() => { choose(typed); typed = {}; }, 250);
};
element("find-metrics").oninput = event => later({metrics: event.target.value});
element("find-tensors").oninput = event => later({tensors: event.target.value, page: 0});
new ResizeObserver(changed).observe(document.body);
// A browser has six connections to a server at a time, for all of its tabs: one that nobody sees leaves its own to the others.
document.onvisibilitychange = () => document.hidden ? source.close() : connect();
setInterval(() => {
  for (const run of runs) if (run?.row) showAge(run);
  if (source.readyState === EventSource.OPEN && performance.now() - heard > SILENCE) unfed("The server does not answer");
}, 1000);
