// Heat map: the hover line, and a region picked by two clicks or a drag, over the SVG that heatmap.py drew.
//
// The region is kept in the address as from, to (seconds), min_us and max_us, both included, and ended: what counts is what
// ended there. It stands behind the # of a file, and in the query of a page, where visit(query) asks the server to follow.
// Of an offset map the region is all the time from its first cell to its last. Esc gives it up.
"use strict";

function heatMap(svg, visit) {
  const data = JSON.parse(svg.querySelector("metadata").textContent);
  const plot = svg.querySelector(".plot"), edges = data.edges_ns, rows = data.counts.length;
  const byOffset = data.rows_of === "offset";
  const details = svg.querySelector(".details"), selected = svg.querySelector(".selected");
  const counts = data.counts.map(sparse => {
    const row = new Map();
    for (let i = 0; i < sparse.length; i += 2) row.set(sparse[i], sparse[i + 1]);
    return row;
  });
  const width = plot.width.baseVal.value, height = plot.height.baseVal.value;
  const frame = document.createElementNS("http://www.w3.org/2000/svg", "path");
  for (const [key, value] of Object.entries({ class: "region", fill: "#06c", "fill-opacity": ".06", stroke: "#06c", "pointer-events": "none" }))
    frame.setAttribute(key, value);
  plot.after(frame);
  let anchor = null, dragged = false;

  const BOUNDS = ["from", "to", "min_us", "max_us"];
  const state = () => new URLSearchParams(visit ? location.search : location.hash.slice(1));
  function go(changes) {
    const next = state();
    if (visit && changes.ended && !next.has("ended"))  // a region of a part: the page goes on showing that part
      for (const key of BOUNDS) if (next.has(key)) next.set("around_" + key, next.get(key));
    for (const [key, value] of Object.entries(changes)) if (value === null) next.delete(key); else next.set(key, value);
    if (!next.has("ended")) for (const key of BOUNDS) next.delete("around_" + key);
    if (visit) visit(next); else location.hash = next;
  }

  const time = column => data.begin_ns + column * data.column_ns;
  const shown = value => data.unit ? duration(value) : value.toLocaleString("en");
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
  // A region runs over columns and rows. Of an offset map it runs over cells in the order of time, `first` to before `last`.
  function region(a, b) {
    if (byOffset) {
      const places = [a, b].map(cell => cell.column * rows + cell.row);
      return { first: Math.min(...places), last: Math.max(...places) + 1 };
    }
    return {
      left: Math.min(a.column, b.column), right: Math.max(a.column, b.column) + 1,
      low: Math.min(a.row, b.row), high: Math.max(a.row, b.row) + 1,
    };
  }
  const moment = place => time(Math.floor(place / rows)) + edges[place % rows];
  const begins = area => byOffset ? moment(area.first) : time(area.left);
  const ends = area => byOffset ? moment(area.last) : time(area.right);
  function holds(area, row, column) {
    if (byOffset) return area.first <= column * rows + row && column * rows + row < area.last;
    return area.left <= column && column < area.right && area.low <= row && row < area.high;
  }
  function describe(area) {
    let count = 0;
    counts.forEach((cells, row) => cells.forEach((cell, column) => { if (holds(area, row, column)) count += cell; }));
    const share = (100 * count / Math.max(data.total, 1)).toFixed(2);
    const latency = byOffset ? "" : `, ${shown(edges[area.low])} – ${shown(edges[area.high])}`;
    return `${duration(begins(area), 6)} – ${duration(ends(area), 6)}${latency}: ${count.toLocaleString("en")} (${share} %)`;
  }
  function outline(area) {
    frame.setAttribute("display", area ? "inline" : "none");
    if (!area) return;
    const x = column => column / data.columns * width, y = row => (1 - row / rows) * height;
    const box = (left, right, low, high) => `M${x(left)} ${y(high)}H${x(right)}V${y(low)}H${x(left)}z`;
    if (!byOffset) { frame.setAttribute("d", box(area.left, area.right, area.low, area.high)); return; }
    let path = "";
    for (let place = area.first; place < area.last;) {  // a column is a period; columns that are whole go together
      const column = Math.floor(place / rows), low = place % rows;
      const whole = low ? 0 : Math.floor((area.last - place) / rows);
      const next = whole ? place + whole * rows : Math.min(area.last, (column + 1) * rows);
      path += whole ? box(column, column + whole, 0, rows) : box(column, column + 1, low, low + next - place);
      place = next;
    }
    frame.setAttribute("d", path);
  }
  // Show the region of the address. Bounds beside the map's cells are rounded outwards to whole cells.
  function show() {
    anchor = null;
    const now = state(), number = (key, otherwise) => now.has(key) ? Number(now.get(key)) : otherwise;
    if (!now.has("ended") || !rows) {
      selected.textContent = "";
      outline(null);
      return;
    }
    const column = seconds => (seconds * 1e9 - data.begin_ns) / data.column_ns;
    const left = column(number("from", 0)) + 1e-6, right = column(number("to", Infinity)) - 1e-6;
    const below = ns => Math.max(edges.findLastIndex(edge => edge <= ns), 0);
    const area = byOffset ? {
      first: clamp(left * rows, data.columns * rows),
      last: clamp(Math.ceil(right * rows) - 1, data.columns * rows) + 1,
    } : {
      left: clamp(left, data.columns),
      right: clamp(Math.ceil(right) - 1, data.columns) + 1,
      low: Math.min(below(number("min_us", 0) * 1000 + 0.5), rows - 1),
      high: Math.min(below(number("max_us", Infinity) * 1000 + 0.5) + 1, rows),
    };
    outline(area);
    selected.textContent = "selected: " + describe(area);
  }
  function choose(area) {
    const bounds = byOffset ? {} : { min_us: edges[area.low] / 1000, max_us: (edges[area.high] - 1) / 1000 };
    go({ from: begins(area) / 1e9, to: ends(area) / 1e9, ...bounds, ended: 1 });
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
    if (event.key !== "Escape" || event.defaultPrevented) return;
    if (anchor) show();
    else if (state().has("ended") && !event.target.closest?.("input, select"))
      go(Object.fromEntries(["ended", ...BOUNDS].map(key => [key, state().get("around_" + key)])));
  }, { signal });
  if (!visit) addEventListener("hashchange", show, { signal });
  show();
  return () => listening.abort();
}

if (document.documentElement.localName === "svg") heatMap(document.documentElement, null);
