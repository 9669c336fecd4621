// Flame graph: zoom, search, keys and the hover line over the SVG that flamegraph.py drew.
//
// A file zooms and searches what is drawn, and keeps its state behind the # of its address. On a page the state is the
// query, and visit(query) asks the server, which zooms and searches the whole tree. Either way a link shows what its
// sender saw, and back and forward work.
"use strict";

function flameGraph(svg, visit) {
  const SVG = "http://www.w3.org/2000/svg", ROW = 16, MARGIN = 10, INSET = 3, CHARACTER = 12 * 0.603;
  const MATCH = "rgb(230,0,230)";
  const KEYS = {
    "click, Enter": "zoom to a frame", "click all": "show everything again", "Ctrl-F, F3": "search (regular expression)",
    "Ctrl-I": "ignore case", "n, Shift-n": "next, previous match", "Esc": "clear the search",
    "i": "icicle or flame", "arrows": "walk the frames",
    ...visit && {
      "s": "callers and callees of the frame", "f": "only stacks with the frame", "h": "hide the frame",
      "right click, m": "these as a menu",
    },
    "?": "these keys",
  };
  const data = JSON.parse(svg.querySelector("metadata").textContent);
  const rectangles = svg.querySelectorAll(".frames rect");
  const labels = svg.querySelector(".labels"), bar = svg.querySelector(".bar");
  const details = bar.querySelector(".details"), matched = bar.querySelector(".matched");
  const top = bar.transform.baseVal.getItem(0).matrix.f;
  const frames = data.frames.map(([depth, name, ns, key], index) => ({
    depth, ns, key, name: data.names[name], says: data.says?.texts[data.says.of[index]], rect: rectangles[index], children: [],
  }));
  const byRect = new Map(frames.map(frame => [frame.rect, frame]));
  const lowest = Math.min(...frames.map(frame => frame.depth)), highest = Math.max(...frames.map(frame => frame.depth));
  let shown = frames[0], current = null, pointed = null, ignoreCase = false, icicle = data.icicle;

  const path = [];
  for (const frame of frames) {
    path.length = Math.abs(frame.depth);  // callers in a sandwich have depths below 0
    frame.parent = path.at(-1);
    frame.parent?.children.push(frame);
    path.push(frame);
    frame.fill = frame.rect.getAttribute("fill");
    frame.match = frame.fill === MATCH;
  }
  frames[0].begin = 0;
  const callees = frame => frame.children.filter(child => child.depth > 0);
  const callers = frame => frame.children.filter(child => child.depth < 0);
  const sum = (all, part) => all.reduce((total, frame) => total + part(frame), 0);
  for (const frame of frames)
    for (const half of [callees(frame), callers(frame)]) {
      let begin = frame.begin + frame.ns - sum(half, child => child.ns);
      for (const child of half) { child.begin = begin; begin += child.ns; }
    }

  // State: in the address.
  const state = () => new URLSearchParams(visit ? location.search : location.hash.slice(1));
  function go(changes, isDrawn) {
    const next = state();
    for (const [key, value] of Object.entries(changes))
      if (value === null || value === "") next.delete(key); else next.set(key, value);
    if (visit) visit(next, isDrawn); else location.hash = next;
  }
  function show() {
    const now = state();
    ignoreCase = now.has("icase");
    icicle = visit ? data.icicle : now.has("icicle") || data.icicle && !now.has("flame");
    const key = Number(now.get("zoom") ?? data.zoom);
    shown = frames.find(frame => frame.key && frame.key === key) ?? frames[0];
    if (!visit) searchDrawn(now.get("search"));
    else if (shown.key !== (data.zoom ?? frames[0].key)) matched.textContent = "";  // until the server's picture comes
    layout();
  }

  // Drawing: the same geometry as flamegraph.py's, at the width that there is.
  function layout() {
    const width = Math.max(500, document.body?.clientWidth ?? innerWidth);  // a page may not hold the picture yet
    const scale = (width - 2 * MARGIN) / Math.max(shown.ns, 1);
    const height = top + 24 + (highest - lowest + 1) * ROW + MARGIN;
    svg.setAttribute("width", width);
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const ancestors = new Set();
    for (let frame = shown.parent; frame; frame = frame.parent) ancestors.add(frame);
    labels.replaceChildren();
    for (const frame of frames) {
      const above = ancestors.has(frame), { rect } = frame;
      const x = above ? 0 : (frame.begin - shown.begin) * scale, w = (above ? shown.ns : frame.ns) * scale;
      const inside = above || frame === shown || (frame.parent?.visible && !ancestors.has(frame.parent));
      frame.visible = inside && w >= 0.05;
      if (!frame.visible) { rect.setAttribute("display", "none"); continue; }
      const y = (icicle ? frame.depth - lowest : highest - frame.depth) * ROW;
      rect.removeAttribute("display");
      rect.setAttribute("x", x.toFixed(1));
      rect.setAttribute("y", y);
      rect.setAttribute("width", Math.max(w - Math.min(0.6, w / 5), 0.1).toFixed(1));
      if (above) rect.setAttribute("opacity", ".5"); else rect.removeAttribute("opacity");
      const text = cut(frame.name, w - 2 * INSET);
      if (text) labels.append(element("text", { x: (x + INSET).toFixed(1), y: y + 11 }, text));
    }
    reset.setAttribute("display", shown === frames[0] ? "none" : "inline");
    requestAnimationFrame(follow);
  }
  function cut(text, width) {
    const characters = Math.floor(width / CHARACTER);
    return text.length <= characters ? text : characters < 3 ? "" : text.slice(0, characters - 2) + "..";
  }
  function element(name, attributes, text) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.textContent = text ?? "";
    return made;
  }
  // The hover line stays in sight when the picture is taller than the window.
  function follow() {
    const hidden = -svg.getBoundingClientRect().top;
    bar.setAttribute("transform", `translate(0,${Math.max(top, hidden)})`);
  }

  // Words.
  const percent = (part, whole, digits = 2) => (whole ? 100 * part / whole : 0).toFixed(digits) + " %";
  function weight(ns) {
    if (data.unit !== "ns") return `${ns.toLocaleString("en")} ${data.unit}`;
    for (const [size, unit] of [[1e9, "s"], [1e6, "ms"], [1e3, "µs"]])
      if (ns >= size) {
        const value = ns / size, digits = value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
        return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }) + " " + unit;
      }
    return ns + " ns";
  }
  function describe(frame) {
    if (frame.says) return `${frame.name}: ${frame.says}`;
    const all = percent(frame.ns, data.all_ns), shownAs = shown === frames[0] ? data.sandwich : "zoomed";
    const share = shown.ns === data.all_ns || !shownAs ? all : `${percent(frame.ns, shown.ns)} of ${shownAs}, ${all} of all`;
    return `${frame.name} (${weight(frame.ns)}, ${share})`;
  }
  function point(frame) {
    details.textContent = frame ? describe(frame) : "";
    if (frame && !frame.rect.firstChild) frame.rect.append(element("title", {}, ""));
    if (frame) frame.rect.firstChild.textContent = details.textContent;
  }

  // Search.
  function searchDrawn(text) {
    let expression = null;
    try {
      if (text) expression = new RegExp(text, ignoreCase ? "i" : "");
      matched.textContent = "";
    } catch (error) {
      matched.textContent = error.message;
    }
    for (const frame of frames) {
      frame.match = Boolean(expression && frame.key && expression.test(frame.name));
      frame.rect.setAttribute("fill", frame.match ? MATCH : frame.fill);
    }
    if (!expression) return;
    const found = (frame, half) => frame.match ? frame.ns : sum(half(frame), child => found(child, half));
    const share = (frame, half) => percent(found(frame, half), frame.ns, 1);
    const words = `Matched: ${share(shown, shown.depth < 0 ? callers : callees)}`;
    if (data.sandwich)
      matched.textContent = words + (shown === frames[0] ? ` of callees, ${share(shown, callers)} of callers` : "");
    else
      matched.textContent = words + (shown === frames[0] ? "" : ` (${share(frames[0], callees)} of all)`);
  }
  function ask() {
    const field = document.querySelector("input[name=search]");
    if (field) { field.focus(); field.select(); return; }
    const text = prompt("Search what is drawn (regular expression):", state().get("search") ?? "");
    if (text !== null) go({ search: text });
  }

  // Keys and pointer.
  function focus(frame) {
    if (!frame) return;
    current = frame;
    pointed = null;  // where the mouse rests is not meant any more
    point(frame);
    frame.rect.setAttribute("tabindex", "-1");
    frame.rect.setAttribute("role", "button");
    frame.rect.setAttribute("aria-label", details.textContent);
    frame.rect.focus();
  }
  function walk(right, deeper) {
    if (!current?.visible) return focus(shown);
    if (deeper) {
      const depth = current.depth + deeper;
      if (current.parent?.depth === depth) return focus(current.parent);
      const there = current.children.filter(child => child.visible && child.depth === depth);
      return focus(there.sort((a, b) => b.ns - a.ns)[0]);
    }
    const row = frames.filter(frame => frame.visible && frame.depth === current.depth);
    focus(row[row.indexOf(current) + right]);
  }
  function nextMatch(step) {
    const matches = frames.filter(frame => frame.match && frame.visible);
    const at = matches.indexOf(current);
    focus(matches[at < 0 ? (step > 0 ? 0 : matches.length - 1) : (at + step + matches.length) % matches.length]);
  }
  function zoom(frame) {
    if (!frame?.key) return;
    const isDrawn = within(frame, shown);
    go({ zoom: frame === frames[0] ? null : frame.key }, isDrawn);
    if (visit && isDrawn) show();
  }
  function flip() {
    const hangs = visit ? data.hangs : data.icicle;  // what it does when nobody says
    go({ icicle: icicle || hangs ? null : 1, flame: icicle && hangs ? 1 : null });
  }

  // What a page can do with a frame besides, by asking the server.
  const DEEDS = {
    s: ["Callers and callees", frame => ({ sandwich: frame.name, zoom: null })],
    f: ["Only stacks with it", frame => ({ grep: only(frame), zoom: null })],
    h: ["Hide it", frame => ({
      hide: [state().get("hide"), only(frame)].filter(Boolean).join("|"),
      zoom: onPath(shown, frame.name) ? null : state().get("zoom"),
    })],
  };
  const isWhole = frame => [...frame.name].length < data.name_at_most;
  const only = frame => "^" + frame.name.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&").replaceAll("\ufffd", ".") + (isWhole(frame) ? "$" : "");
  const within = (frame, other) => Boolean(frame) && (frame.parent === other || within(frame.parent, other));
  const onPath = (frame, name) => Boolean(frame) && (frame.name === name || onPath(frame.parent, name));
  function deed(key, frame = pointed ?? current ?? shown) {
    closeMenu();
    if (can(key, frame)) go(DEEDS[key][1](frame));
  }
  function can(key, frame) {
    if (!visit || !frame?.key || frame === frames[0] && !data.sandwich) return false;
    return key !== "s" || frame !== frames[0] && frame.name !== "--" && isWhole(frame) && !data.says;
  }
  function menu(frame = pointed ?? current ?? shown) {
    closeMenu();
    const open = Object.keys(DEEDS).filter(key => can(key, frame));
    if (!open.length) return;
    const box = frame.rect.getBBox(), { e: left, f: above } = frame.rect.parentNode.transform.baseVal.getItem(0).matrix;
    const x = Math.min(Math.max(left + box.x, 0), svg.width.baseVal.value - 250);
    const panel = element("g", { class: "menu", role: "menu", transform: `translate(${x},${above + box.y + ROW})` });
    panel.append(element("rect", { class: "paper rule", width: 240, height: open.length * 22 + 8, fill: "#fff", stroke: "#999" }));
    open.forEach((key, row) => {
      const item = element("text", { class: "button", x: 10, y: 20 + row * 22, role: "menuitem", tabindex: 0 }, `${DEEDS[key][0]} (${key})`);
      item.addEventListener("click", event => { event.stopPropagation(); deed(key, frame); });
      item.addEventListener("keydown", event => {
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        const beside = { ArrowDown: item.nextElementSibling, ArrowUp: item.previousElementSibling }[event.key];
        if (open.includes(event.key)) deed(event.key, frame);
        else if (beside?.hasAttribute("tabindex")) beside.focus();
        else if (!event.key.startsWith("Arrow")) return;
        event.preventDefault();
        event.stopPropagation();
      });
      panel.append(item);
    });
    svg.append(panel);
    panel.querySelector("text").focus();
  }
  function closeMenu() { svg.querySelector(".menu")?.remove(); }
  function help() {
    const open = svg.querySelector(".help");
    if (open) { open.remove(); return; }
    const y = Math.max(top + 26, 26 - svg.getBoundingClientRect().top), lines = Object.entries(KEYS);
    const box = element("g", { class: "help", transform: `translate(${MARGIN},${y})` });
    box.append(element("rect", { class: "paper rule", width: 360, height: lines.length * 18 + 16, fill: "#fff", stroke: "#999" }));
    lines.forEach(([keys, meaning], row) => box.append(
      element("text", { class: "ink", x: 12, y: 24 + row * 18 }, keys), element("text", { class: "ink", x: 120, y: 24 + row * 18 }, meaning)));
    svg.append(box);
  }
  function escape() {
    const open = svg.querySelector(".help, .menu");
    if (open) { open.remove(); (current?.rect ?? svg).focus({ preventScroll: true }); }
    else if (state().has("search")) go({ search: null });
  }
  function press(event) {
    const typing = event.target.closest?.("input, select");
    const control = event.ctrlKey || event.metaKey, key = event.key;
    const click = () => event.target.dispatchEvent(new MouseEvent("click", { bubbles: true }));
    const actions = control
      ? { f: ask, i: () => go({ icase: ignoreCase ? null : 1 }) }
      : {
          F3: ask, Escape: escape,
          n: () => nextMatch(1), N: () => nextMatch(-1), i: flip, "?": help,
          ArrowUp: () => walk(0, icicle ? -1 : 1), ArrowDown: () => walk(0, icicle ? 1 : -1),
          ArrowLeft: () => walk(-1, 0), ArrowRight: () => walk(1, 0),
          Enter: click, " ": click,
          ...visit && { s: () => deed("s"), f: () => deed("f"), h: () => deed("h"), m: () => menu() },
        };
    const anywhere = control || key === "F3" || key === "Escape" && typing?.name === "search";
    if (event.defaultPrevented || event.altKey || !Object.hasOwn(actions, key) || typing && !anywhere) return;
    const hit = svg.contains(event.target) && event.target.matches("[role=button], [role=menuitem]");
    if (actions[key] === click ? !hit : key.startsWith("Arrow") && visit && !svg.contains(document.activeElement)) return;
    event.preventDefault();
    actions[key]();
  }

  const buttons = [["Reset zoom", () => go({ zoom: null })], ["Search", ask], ["Flip", flip], ["Keys", help]];
  if (visit && data.sandwich) buttons.unshift(["All stacks", () => go({ sandwich: null, zoom: null })]);
  let right = MARGIN;
  const [reset] = buttons.reverse().map(([name, action]) => {
    const button = element("text", { class: "button", x: "100%", dx: -right, y: 24, "text-anchor": "end", role: "button", tabindex: 0 }, name);
    right += name.length * CHARACTER + 16;
    button.addEventListener("click", action);
    svg.append(button);
    return button;
  }).filter(button => button.textContent === "Reset zoom");

  svg.setAttribute("role", "application");
  svg.setAttribute("tabindex", "0");
  svg.addEventListener("mouseover", event => point(pointed = byRect.get(event.target) ?? null));
  svg.addEventListener("mouseleave", () => pointed = null);
  svg.addEventListener("click", event => { closeMenu(); zoom(byRect.get(event.target)); });
  if (visit) svg.addEventListener("contextmenu", event => {
    if (!byRect.has(event.target)) return;
    event.preventDefault();
    menu(byRect.get(event.target));
  });
  const listening = new AbortController(), { signal } = listening;
  addEventListener("keydown", press, { signal });
  addEventListener("scroll", follow, { signal, passive: true });
  addEventListener("resize", layout, { signal });
  if (!visit) addEventListener("hashchange", show, { signal });
  show();
  return () => listening.abort();
}

if (document.documentElement.localName === "svg") flameGraph(document.documentElement, null);
