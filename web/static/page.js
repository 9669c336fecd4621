// Pages: follow links within a recording without losing one's place, and give pictures their life.
//
// The address says everything, and the server draws it. This fetches the page of the new address and takes its #page,
// so a picture changes while the window stays where it is scrolled to; without a script the same links and forms work.
"use strict";

const address = () => location.pathname + location.search;
let alive = [], loading = new AbortController(), shown = address();

function start() {
  for (const quiet of alive) quiet();
  alive = [["svg.timeline", timeLine], ["svg.flame", flameGraph], ["svg.heat", heatMap]].flatMap(([name, bring]) => {
    const picture = document.querySelector(name);
    return picture ? [bring(picture, visit)] : [];
  });
}

async function load() {
  shown = address();
  loading.abort();
  loading = new AbortController();
  try {
    const answer = await fetch(location.href, { signal: loading.signal });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.title = page.title;
    const isOnTimeline = document.activeElement?.getAttribute("role") === "slider";
    document.querySelector("#page").replaceWith(page.querySelector("#page"));
    start();
    if (isOnTimeline) document.querySelector("[role=slider]")?.focus({ preventScroll: true });
  } catch (error) {
    if (error.name !== "AbortError") location.reload();
  }
}

function visit(query, path = location.pathname) {
  history.pushState(null, "", `${path}?${query}`);
  load();
}

addEventListener("popstate", () => { if (address() !== shown) load(); });  // not for a place within the page
addEventListener("submit", event => {
  event.preventDefault();
  const fields = [...new FormData(event.target)].filter(([, value]) => value);
  visit(new URLSearchParams(fields), new URL(event.target.action).pathname);
});
start();
