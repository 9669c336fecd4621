// Pages: follow links within a recording without losing one's place, and give pictures their life.
//
// The address says everything, and the server draws it. This fetches the page of the new address and takes what of it has
// changed: the window stays where it is, and what was typed or opened elsewhere too. Without a script the same links work.
"use strict";

const address = () => location.pathname + location.search, alive = new Map();
const parts = page => [...page.querySelector("#page").children];
const text = part => part.localName === "main" ? null : part.outerHTML;  // main is always another
let loading = new AbortController(), loaded, shown = address(), sent = parts(document).map(text), whole;

function bring(part) {
  for (const [name, life] of [["svg.timeline", timeLine], ["svg.flame", flameGraph], ["svg.heat", heatMap]])
    for (const picture of part.querySelectorAll(name)) {
      if (life === flameGraph && !zoomed()) whole = { of: unzoomed(), figure: document.importNode(picture.parentNode, true) };
      alive.set(picture, life(picture, visit));
    }
}

function change(how) {
  const held = ["[role=slider]", "svg.flame"].find(name => document.activeElement?.closest(name));
  how();
  for (const [picture, quiet] of alive) if (!picture.isConnected) { quiet(); alive.delete(picture); }
  if (held && document.activeElement === document.body) document.querySelector(held)?.focus({ preventScroll: true });
}

function exchange(page) {
  const there = parts(document), now = parts(page), were = sent;
  document.title = page.title;
  sent = now.map(text);
  now.forEach((part, at) => {
    if (sent[at] !== null && sent[at] === were[at]) return;
    bring(part);  // before it stands in the page, so that the browser lays it out once
    if (there[at]) there[at].replaceWith(part); else document.querySelector("#page").append(part);
  });
  there.slice(now.length).forEach(part => part.remove());
}

// Zooming out shows at once what the last picture of everything has of the frame; the server's comes after it.
const query = () => new URLSearchParams(location.search), zoomed = () => query().get("zoom");
const unzoomed = () => { const kept = query(); kept.delete("zoom"); return `${location.pathname}?${kept}`; };
function zoomOut() {
  if (whole?.of !== unzoomed()) return;
  if (zoomed() && !whole.figure.querySelector("metadata").textContent.includes(`,${zoomed()}]`)) return;
  const figure = whole.figure.cloneNode(true);
  change(() => { bring(figure); document.querySelector("svg.flame")?.parentNode.replaceWith(figure); });
}

async function load() {
  shown = address();
  loading.abort();
  loading = new AbortController();
  try {
    const answer = await fetch(location.href, { signal: loading.signal });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    change(() => exchange(page));
  } catch (error) {
    if (error.name !== "AbortError") location.reload();
  }
}

function visit(next, isDrawn = false, path = location.pathname) {
  history.pushState(null, "", `${path}?${next}`);
  loaded = load();
  if (!isDrawn) zoomOut();
}

addEventListener("popstate", () => { if (address() !== shown) { loaded = load(); zoomOut(); } });  // not for a place within the page
const byItself = control => control.defaultValue ?? ([...control].find(one => one.defaultSelected) ?? control.options[0]).value;
const isChanged = control => control.value !== byItself(control) || control.checked !== control.defaultChecked;
addEventListener("submit", async event => {
  event.preventDefault();
  for (let last; last !== loaded;) await (last = loaded);  // a zoom that is on its way is to be kept
  const form = document.getElementById(event.target.id) ?? event.target;
  if (form !== event.target)  // what was on its way brought a form of its own: what was changed here holds there
    for (const { name, value, checked } of [...event.target.querySelectorAll("input, select")].filter(isChanged))
      if (form.elements[name]) Object.assign(form.elements[name], { value, checked });
  const fields = [...new FormData(form)].filter(([, value]) => value);
  visit(new URLSearchParams(fields), false, new URL(form.action).pathname);
});
bring(document);
