// Timeline: the hover line, and a time picked by two clicks, a drag or the keyboard, over the SVG that overview.py drew.
//
// The time is kept in the address as from and to (seconds): behind the # of a file, in the query of a page, where
// visit(query) asks the server to follow. A region of a heat map is a time too; another time takes its place.
"use strict";

function timeLine(svg, visit) {
  const plot = svg.querySelector(".span"), details = svg.querySelector(".now"), selected = svg.querySelector(".chosen");
  const data = JSON.parse(plot.dataset.figures), { columns, width_ns } = data;
  const width = plot.width.baseVal.value, height = plot.height.baseVal.value;
  const make = (name, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    plot.before(made);
    return made;
  };
  const outside = make("path", { class: "beside", fill: "#fff", "fill-opacity": ".7" });
  const frame = make("rect", { class: "time", y: -3, height: height + 6, fill: "#06c", "fill-opacity": ".06", stroke: "#06c", display: "none" });
  const cursor = make("path", { class: "ink", stroke: "#1a1b20", "stroke-dasharray": "2 2", display: "none" });
  let anchor = null, at = 0, dragged = false;

  const state = () => new URLSearchParams(visit ? location.search : location.hash.slice(1));
  function go(changes) {
    const next = state();
    if (next.has("ended")) {
      changes = { ...changes, min_us: next.get("around_min_us"), max_us: next.get("around_max_us") };
      for (const key of ["ended", "around_from", "around_to", "around_min_us", "around_max_us"]) next.delete(key);
    }
    for (const [key, value] of Object.entries(changes)) if (value === null) next.delete(key); else next.set(key, value);
    if (visit) visit(next); else location.hash = next;
  }

  const x = column => column / columns * width;
  const end = column => Math.min((column + 1) * width_ns, data.end_ns);
  const number = (value, digits = 3) => value.toLocaleString("en", { maximumSignificantDigits: digits });
  function duration(ns) {
    for (const [size, unit] of [[1e9, "s"], [1e6, "ms"], [1e3, "µs"]]) if (ns >= size) return `${number(ns / size, 6)} ${unit}`;
    return ns ? ns + " ns" : "0 s";
  }
  const period = (first, last) => `${duration(first * width_ns)} – ${duration(end(last))}`;
  function describe(first, last) {
    const length = column => end(column) - column * width_ns;
    const mean = values => {
      let sum = 0, time = 0;
      for (let column = first; column <= last; column++) { sum += values[column] * length(column); time += length(column); }
      return sum / Math.max(time, 1);
    };
    const words = data.parts.map(([name, unit, values]) => `${number(mean(values))}${unit === "%" ? " %" : ""} ${name}`);
    return `${period(first, last)}: ${words.join(", ")}`;
  }
  function outline(first, last) {
    frame.setAttribute("display", first === null ? "none" : "inline");
    outside.setAttribute("d", first === null ? "" : `M0 0H${x(first)}V${height}H0zM${x(last + 1)} 0H${width}V${height}H${x(last + 1)}z`);
    if (first === null) return;
    frame.setAttribute("x", x(first));
    frame.setAttribute("width", x(last + 1) - x(first));
  }
  function point(column) {
    at = column;
    const first = anchor === null ? column : Math.min(anchor, column), last = anchor === null ? column : Math.max(anchor, column);
    details.textContent = describe(first, last);
    cursor.setAttribute("display", "inline");
    cursor.setAttribute("d", `M${x(column + 0.5)} -3V${height + 3}`);
    plot.setAttribute("aria-valuenow", column);
    plot.setAttribute("aria-valuetext", details.textContent);
    if (anchor !== null) outline(first, last);
  }
  function choose(column) {
    const first = Math.min(anchor, column), last = Math.max(anchor, column);
    anchor = null;
    go({ from: first * width_ns / 1e9, to: end(last) / 1e9 });
  }
  // Show the time of the address, rounded outwards to whole columns.
  function show() {
    anchor = null;
    const now = state(), clamp = value => Math.min(Math.max(value, 0), columns - 1);
    if (!now.has("from") && !now.has("to")) { selected.textContent = ""; outline(null); return; }
    const first = clamp(Math.floor(Number(now.get("from") ?? 0) * 1e9 / width_ns + 1e-6));
    const last = Math.max(first, clamp(Math.ceil(Number(now.get("to") ?? Infinity) * 1e9 / width_ns - 1e-6) - 1));
    if (at < first || at > last) at = last;
    outline(first, last);
    selected.textContent = `selected: ${period(first, last)}`;
  }
  function leave() {
    if (anchor !== null || document.activeElement === plot) return;
    details.textContent = "";
    cursor.setAttribute("display", "none");
  }

  const columnAt = event => {
    const box = plot.getBoundingClientRect();
    return Math.min(Math.max(Math.floor((event.clientX - box.left) / box.width * columns), 0), columns - 1);
  };
  svg.setAttribute("role", "group");
  for (const [key, value] of Object.entries({
    tabindex: 0, role: "slider", "aria-valuemin": 0, "aria-valuemax": columns - 1, "aria-valuenow": 0,
    "aria-valuetext": period(0, columns - 1),
    "aria-label": "Timeline: arrows move, Shift and arrows choose a time, Enter takes it, Escape gives it up",
  })) plot.setAttribute(key, value);
  plot.addEventListener("pointerdown", event => {
    if (event.button !== 0) return;
    event.preventDefault();
    const column = columnAt(event);
    if (anchor !== null) { choose(column); return; }
    anchor = column;
    dragged = false;
    plot.setPointerCapture(event.pointerId);
    point(column);
  });
  plot.addEventListener("pointermove", event => {
    const column = columnAt(event);
    point(column);
    dragged ||= anchor !== null && event.buttons === 1 && column !== anchor;
  });
  plot.addEventListener("pointerup", event => { if (anchor !== null && dragged) choose(columnAt(event)); });
  plot.addEventListener("pointerleave", leave);
  plot.addEventListener("blur", leave);
  plot.addEventListener("focus", () => point(at));
  plot.addEventListener("keydown", event => {
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -columns, End: columns }[event.key];
    if (step) {
      if (event.shiftKey) anchor ??= at;
      point(Math.min(Math.max(at + step, 0), columns - 1));
    } else if (event.key === "Enter") {
      anchor ??= at;
      choose(at);
    } else return;
    event.preventDefault();
    event.stopPropagation();  // the picture below walks its frames by the same keys
  });
  const listening = new AbortController(), { signal } = listening;
  addEventListener("keydown", event => {
    if (event.key !== "Escape") return;
    if (anchor !== null) show();
    else if (document.activeElement === plot && (state().has("from") || state().has("to"))) go({ from: null, to: null });
    else return;
    event.preventDefault();
  }, { signal, capture: true });  // before the picture below, which has keys of its own
  if (!visit) addEventListener("hashchange", show, { signal });
  show();
  return () => listening.abort();
}

if (document.documentElement.localName === "svg") timeLine(document.documentElement, null);
