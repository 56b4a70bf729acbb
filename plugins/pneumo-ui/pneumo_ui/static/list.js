// The list of runs: kept up to date, filtered and sorted without a reload, and runs chosen for a comparison.

import { ask, repeat, shown } from "./server.js";

const MOST = 4;
const PAUSE = 2000; // milliseconds
const list = document.getElementById("list");
const filter = document.getElementById("filter");
const chosen = new Set(JSON.parse(sessionStorage.getItem("chosen") ?? "[]"));
let version = "";
let request = 0;

async function load(again) {
  const mine = ++request;
  const answer = await ask("/runs" + location.search, again || !version ? {} : { "If-None-Match": version });
  if (!answer || mine !== request || answer.status === 304) return;
  if (!answer.ok) return;
  const content = await answer.text();
  if (mine !== request) return;
  version = answer.headers.get("ETag") ?? "";
  const focused = list.contains(document.activeElement) ? document.activeElement : null;
  const key = focused && (focused.id || focused.value || focused.getAttribute("href"));
  const open = new Set([...list.querySelectorAll("details[open]")].map((one) => one.id));
  const scrolled = list.querySelector(".table")?.scrollLeft ?? 0;
  list.innerHTML = content; // made by the server, which escapes all names
  for (const one of list.querySelectorAll("details")) one.open = open.has(one.id);
  if (list.querySelector(".table")) list.querySelector(".table").scrollLeft = scrolled;
  if (key) {
    const same = [...list.querySelectorAll("a, input, summary, [tabindex]")];
    same.find((one) => key === (one.id || one.value || one.getAttribute("href")))?.focus({ preventScroll: true });
  }
  showChosen();
}

function go(address, replace) {
  history[replace ? "replaceState" : "pushState"](null, "", address);
  load(true);
}

list.addEventListener("click", (event) => {
  const link = event.target.closest("a.swap");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go(link.getAttribute("href"));
});
list.addEventListener("keydown", (event) => {
  const button = event.target.closest('a[role="button"]');
  if (button && event.key === " ") {
    event.preventDefault();
    button.click();
  }
});

function filtered() {
  const wanted = new URLSearchParams(location.search);
  for (const [name, value] of new FormData(filter)) value ? wanted.set(name, value) : wanted.delete(name);
  wanted.delete("page");
  const written = wanted.toString();
  go(written ? "/?" + written : "/", true);
}

let typed = 0;
filter.addEventListener("input", () => {
  clearTimeout(typed);
  typed = setTimeout(filtered, 250);
});
filter.addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(typed);
  filtered();
});
filter.querySelector(".needless").hidden = true;
window.addEventListener("popstate", () => {
  const wanted = new URLSearchParams(location.search);
  for (const field of filter.elements) if (field.name) field.value = wanted.get(field.name) ?? "";
  load(true);
});

// --- choosing runs ---

function showChosen() {
  for (const box of list.querySelectorAll('input[name="run"]')) {
    box.checked = chosen.has(box.value);
    box.disabled = !box.checked && chosen.size >= MOST;
  }
  const names = [...chosen].map(shown).join(", ");
  const words = chosen.size === 0 ? "Choose two to four runs in the list." : chosen.size === 1 ? `Chosen: ${names}. Choose another one.` : `Chosen: ${names}`;
  const place = document.getElementById("chosen");
  if (place.textContent !== words) place.textContent = words;
  document.getElementById("compare").disabled = chosen.size < 2;
  document.getElementById("clear").hidden = chosen.size === 0;
  sessionStorage.setItem("chosen", JSON.stringify([...chosen]));
}

list.addEventListener("change", (event) => {
  if (event.target.name !== "run") return;
  event.target.checked ? chosen.add(event.target.value) : chosen.delete(event.target.value);
  showChosen();
});
document.getElementById("clear").addEventListener("click", () => {
  chosen.clear();
  showChosen();
  list.querySelector('input[name="run"]')?.focus();
});
document.getElementById("choice").addEventListener("submit", (event) => {
  event.preventDefault();
  if (chosen.size >= 2) location.href = "/compare?" + new URLSearchParams([...chosen].map((id) => ["run", id]));
});

showChosen();
repeat(async () => {
  await load(false);
  return PAUSE;
});
