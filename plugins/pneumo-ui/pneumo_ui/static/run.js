// The page of a run: curves, log, images by epoch and the table of epochs, kept up to date without a reload.

import { Chart, number } from "./chart.js";
import { Epochs } from "./epochs.js";
import { repeat } from "./server.js";

const LOG_LINES = 500;
const TABLE_ROWS = 100;
const SIDES = { train: "training", validation: "validation" };
const page = document.getElementById("run");
const get = (id) => document.getElementById(id);
const epochs = new Epochs(page.dataset.name);
let log = "";
let logPosition = "";

function words(text) {
  const made = document.createElement("span");
  made.textContent = text;
  return made;
}

/** Sets a text if it is another one: a screen reader need not say the same again. */
function say(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

// --- curves ---

let losses, monitored, other, choice;

function metricLines(metric, key = 0) {
  return Object.entries(SIDES)
    .filter(([side]) => epochs.metrics(side).includes(metric))
    .map(([side, name], place) => ({ name, key: key + place, dashed: false, points: epochs.points(side, metric) }));
}

function drawCurves() {
  const names = [...new Set([...epochs.metrics("train"), ...epochs.metrics("validation")])];
  get("no-epochs").hidden = names.length > 0;
  if (!names.length) return;
  const lossNames = names.filter((name) => name === "loss" || name.endsWith("_loss")).slice(0, 2);
  const monitor = names.includes(page.dataset.monitor) && !lossNames.includes(page.dataset.monitor) ? page.dataset.monitor : "";
  if (lossNames.length) {
    const title = lossNames.length === 1 ? epochs.label(lossNames[0]) : "Losses";
    losses ??= new Chart(get("losses"), words(title));
    const lines = lossNames.length === 1
      ? metricLines(lossNames[0])
      : lossNames.flatMap((name, place) => metricLines(name).map((line, side) => ({ ...line, key: place, dashed: side > 0, name: `${epochs.label(name)}, ${line.name}` })));
    losses.update(title, lines);
  }
  if (monitor) {
    monitored ??= new Chart(get("monitored"), words(`${epochs.label(monitor)}, by which the best checkpoint is chosen`));
    monitored.update(epochs.label(monitor), metricLines(monitor));
  }
  const others = names.filter((name) => !lossNames.includes(name) && name !== monitor);
  if (!others.length) return;
  if (!choice) {
    choice = document.createElement("select");
    choice.setAttribute("aria-label", "Metric");
    choice.addEventListener("change", drawCurves);
    other = new Chart(get("other"), choice);
  }
  if (choice.options.length !== others.length) {
    const kept = choice.value;
    choice.replaceChildren(...others.map((name) => new Option(epochs.label(name), name)));
    if (others.includes(kept)) choice.value = kept;
  }
  other.update(epochs.label(choice.value), metricLines(choice.value));
}

// --- the table of epochs ---

function drawTable() {
  const columns = [["Epoch", (row) => row.epoch]];
  const shown = ["loss", "generator_loss", "discriminator_loss", page.dataset.monitor];
  for (const metric of new Set(shown)) {
    for (const [side, name] of Object.entries(SIDES)) {
      if (epochs.metrics(side).includes(metric)) columns.push([`${epochs.label(metric)}, ${name}`, (row) => number(row[side][metric])]);
    }
  }
  columns.push(["Learning rate", (row) => number(row.learning_rate)], ["Seconds", (row) => number(row.seconds)]);
  const cell = (name, text, attributes) => Object.assign(document.createElement(name), { textContent: text, ...attributes });
  const head = document.createElement("tr");
  head.append(...columns.map(([title]) => cell("th", title, { scope: "col", className: "number" })));
  const body = epochs.rows.slice(-TABLE_ROWS).reverse().map((row) => {
    const line = document.createElement("tr");
    line.append(...columns.map(([, value], place) => cell(place ? "td" : "th", value(row), place ? { className: "number" } : { scope: "row", className: "number" })));
    return line;
  });
  get("epoch-table").tHead.replaceChildren(...(body.length ? [head] : []));
  get("epoch-table").tBodies[0].replaceChildren(...body);
  const left = epochs.rows.length - body.length;
  get("epochs-note").hidden = left === 0;
  say(get("epochs-note"), `The last ${body.length} of ${epochs.rows.length} epochs; all are in metrics.jsonl.`);
}

// --- the log ---

function addLog(news) {
  const place = get("log");
  if (news.logAgain) log = "";
  logPosition = news.logPosition;
  if (!news.log && !news.logAgain) return;
  log = (log + news.log).split("\n").slice(-LOG_LINES - 1).join("\n");
  const atEnd = place.scrollHeight - place.scrollTop - place.clientHeight < 30;
  say(place, log || "There is no log yet.");
  if (atEnd) place.scrollTop = place.scrollHeight;
}

// --- images by epoch ---

let kept = [];
const slider = get("epoch");

function showImages() {
  const epoch = kept[slider.value];
  if (epoch === undefined) return;
  const image = get("sample");
  const address = "/run/images?" + new URLSearchParams({ name: page.dataset.name, epoch });
  if (image.getAttribute("src") !== address) image.src = address;
  image.alt = `The images that the run kept of epoch ${epoch}`;
  slider.setAttribute("aria-valuetext", `epoch ${epoch}`);
  say(get("epoch-shown"), `${epoch} of ${kept.at(-1)}`);
}

function addImages(images) {
  if (String(images) === String(kept)) return;
  const newest = Number(slider.value) === kept.length - 1;
  const shown = kept[slider.value];
  kept = images;
  get("images").hidden = kept.length === 0;
  slider.max = Math.max(0, kept.length - 1);
  slider.value = newest || !kept.includes(shown) ? kept.length - 1 : kept.indexOf(shown);
  showImages();
}

slider.addEventListener("input", showImages);

// --- all of it ---

function trouble(news) {
  const texts = [];
  if (news.failed === 404) texts.push("The run was deleted or renamed. What is shown is what it was.");
  else if (news.failed) texts.push("The run cannot be read at the moment; this page tries again.");
  texts.push(...(news.problems ?? []).map((one) => `${one}.`));
  if (epochs.damaged) texts.push(`${epochs.damaged} line${epochs.damaged > 1 ? "s" : ""} of metrics.jsonl cannot be read and are left out.`);
  get("trouble").hidden = !texts.length;
  say(get("trouble"), texts.join(" "));
}

function showState(news) {
  const badge = get("state").firstElementChild;
  if (badge.textContent !== news.state) {
    badge.textContent = news.state;
    badge.className = `badge ${news.state}`;
  }
  say(get("epochs"), `${news.epochs} of ${news.of}`);
  get("left-fact").hidden = !news.left;
  say(get("left"), news.left);
  get("report").hidden = !news.report;
  if (get("files").innerHTML !== news.files) get("files").innerHTML = news.files; // made by the server, which escapes
}

repeat(async () => {
  const news = await epochs.read({ log: logPosition });
  if (!news) return 3000;
  trouble(news);
  if (news.failed) return 3000;
  addLog(news);
  addImages(news.images);
  showState(news);
  if (news.rows.length || news.again) {
    drawCurves();
    drawTable();
  }
  return news.more ? 0 : news.state === "running" ? 1000 : 3000;
});
