// Heat map: the hover line, and a region picked by two clicks or a drag, over the SVG that heatmap.py drew.
//
// The region is kept in the address as from, to (seconds), min_us and max_us: behind the # of a file, in the query of a
// page, where visit(query) asks the server to follow. Esc gives it up.
"use strict";

function heatMap(svg, visit) {
  const data = JSON.parse(svg.querySelector("metadata").textContent);
  const plot = svg.querySelector(".plot"), edges = data.edges_ns, rows = data.counts.length;
  const details = svg.querySelector(".details"), selected = svg.querySelector(".selected");
  const counts = data.counts.map(sparse => {
    const row = new Map();
    for (let i = 0; i < sparse.length; i += 2) row.set(sparse[i], sparse[i + 1]);
    return row;
  });
  const width = plot.width.baseVal.value, height = plot.height.baseVal.value;
  const frame = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  for (const [key, value] of Object.entries({ class: "region", fill: "#06c", "fill-opacity": ".06", stroke: "#06c", "pointer-events": "none" }))
    frame.setAttribute(key, value);
  plot.after(frame);
  let anchor = null, dragged = false;

  const state = () => new URLSearchParams(visit ? location.search : location.hash.slice(1));
  function go(changes) {
    const next = state();
    for (const [key, value] of Object.entries(changes)) if (value === null) next.delete(key); else next.set(key, value);
    if (visit) visit(next); else location.hash = next;
  }

  const time = column => data.begin_ns + column * data.column_ns;
  function duration(ns, digits = 3) {
    for (const [size, unit] of [[1e9, "s"], [1e6, "ms"], [1e3, "µs"]])
      if (ns >= size) return (ns / size).toLocaleString("en", { maximumSignificantDigits: digits }) + " " + unit;
    return ns ? ns + " ns" : "0 s";
  }
  const clamp = (value, most) => Math.min(Math.max(Math.floor(value), 0), most - 1);
  function cellAt(event) {
    const box = plot.getBoundingClientRect();
    return {
      column: clamp((event.clientX - box.left) / box.width * data.columns, data.columns),
      row: clamp((box.bottom - event.clientY) / box.height * rows, rows),
    };
  }
  function region(a, b) {
    return {
      left: Math.min(a.column, b.column), right: Math.max(a.column, b.column) + 1,
      low: Math.min(a.row, b.row), high: Math.max(a.row, b.row) + 1,
    };
  }
  function describe({ left, right, low, high }) {
    let count = 0;
    for (let row = low; row < high; row++)
      for (const [column, cell] of counts[row]) if (column >= left && column < right) count += cell;
    const share = (100 * count / Math.max(data.total, 1)).toFixed(2);
    return `${duration(time(left), 6)} – ${duration(time(right), 6)}, ${duration(edges[low])} – ${duration(edges[high])}: `
      + `${count.toLocaleString("en")} (${share} %)`;
  }
  function outline(area) {
    frame.setAttribute("display", area ? "inline" : "none");
    if (!area) return;
    frame.setAttribute("x", area.left / data.columns * width);
    frame.setAttribute("width", (area.right - area.left) / data.columns * width);
    frame.setAttribute("y", (1 - area.high / rows) * height);
    frame.setAttribute("height", (area.high - area.low) / rows * height);
  }
  // Show the region of the address. Bounds beside the map's cells are rounded outwards to whole cells.
  function show() {
    anchor = null;
    const now = state(), number = (key, otherwise) => now.has(key) ? Number(now.get(key)) : otherwise;
    if (!["from", "to", "min_us", "max_us"].some(key => now.has(key)) || !rows) {
      selected.textContent = "";
      outline(null);
      return;
    }
    const column = seconds => (seconds * 1e9 - data.begin_ns) / data.column_ns;
    const below = ns => Math.max(edges.findLastIndex(edge => edge <= ns), 0);
    const area = {
      left: clamp(column(number("from", 0)) + 1e-6, data.columns),
      right: clamp(Math.ceil(column(number("to", Infinity)) - 1e-6) - 1, data.columns) + 1,
      low: Math.min(below(number("min_us", 0) * 1000 + 0.5), rows - 1),
      high: Math.min(below(number("max_us", Infinity) * 1000 - 0.5) + 1, rows),
    };
    outline(area);
    selected.textContent = "selected: " + describe(area);
  }
  function choose(area) {
    go({ from: time(area.left) / 1e9, to: time(area.right) / 1e9, min_us: edges[area.low] / 1000, max_us: edges[area.high] / 1000 });
  }

  plot.addEventListener("pointerdown", event => {
    if (event.button !== 0 || !rows) return;
    event.preventDefault();
    const cell = cellAt(event);
    if (anchor) { choose(region(anchor, cell)); anchor = null; return; }
    anchor = cell;
    dragged = false;
    plot.setPointerCapture(event.pointerId);
    outline(region(cell, cell));
  });
  plot.addEventListener("pointermove", event => {
    if (!rows) return;
    const cell = cellAt(event), area = anchor ? region(anchor, cell) : region(cell, cell);
    details.textContent = describe(area);
    if (!anchor) return;
    outline(area);
    dragged ||= event.buttons === 1 && (cell.column !== anchor.column || cell.row !== anchor.row);
  });
  plot.addEventListener("pointerup", event => {
    if (anchor && dragged) { choose(region(anchor, cellAt(event))); anchor = null; }
  });
  plot.addEventListener("pointerleave", () => { details.textContent = ""; });

  const listening = new AbortController(), { signal } = listening;
  addEventListener("keydown", event => {
    if (event.key !== "Escape") return;
    if (anchor) show();
    else if (state().has("min_us")) go({ from: null, to: null, min_us: null, max_us: null });
  }, { signal });
  if (!visit) addEventListener("hashchange", show, { signal });
  show();
  return () => listening.abort();
}

if (document.documentElement.localName === "svg") heatMap(document.documentElement, null);
