// The curves of two to four runs in one chart each.

import { Chart } from "./chart.js";
import { Epochs } from "./epochs.js";
import { repeat, shown } from "./server.js";

const SIDES = { validation: "validation", train: "training" };
const place = document.getElementById("charts");
const runs = JSON.parse(place.dataset.runs).map((name) => new Epochs(name));
const monitors = JSON.parse(place.dataset.monitors);

/** What can be shown: "side metric" to a title. */
function choices() {
  const found = new Map();
  for (const [side, words] of Object.entries(SIDES)) {
    for (const run of runs) for (const metric of run.metrics(side)) found.set(`${side} ${metric}`, `${run.label(metric)}, ${words} images`);
  }
  return found;
}

/** A chart with a choice of what it shows, at first what `wanted` finds. */
class ChosenChart {
  constructor(figure, wanted) {
    this.figure = figure;
    this.wanted = wanted;
  }

  draw(found) {
    if (!found.size) return;
    if (!this.chart) {
      this.choice = document.createElement("select");
      this.choice.setAttribute("aria-label", "Metric and images");
      this.choice.addEventListener("change", () => this.show());
      this.chart = new Chart(this.figure, this.choice);
    }
    if (this.choice.options.length !== found.size) {
      const kept = this.choice.value;
      this.choice.replaceChildren(...[...found].map(([value, title]) => new Option(title, value)));
      this.choice.value = found.has(kept) ? kept : ([...found.keys()].find(this.wanted) ?? this.choice.options[0].value);
    }
    this.show();
  }

  show() {
    const [side, metric] = this.choice.value.split(/ (.*)/s);
    const title = this.choice.selectedOptions[0].textContent;
    this.chart.update(title, runs.map((run, key) => ({ name: shown(run.name), key, dashed: false, points: run.points(side, metric) })));
  }
}

const charts = [
  new ChosenChart(document.getElementById("first"), (value) => value.endsWith("loss")),
  new ChosenChart(document.getElementById("second"), (value) => {
    const metric = value.split(/ (.*)/s)[1];
    return monitors.some(Boolean) ? monitors.includes(metric) : !metric.endsWith("loss");
  }),
];

repeat(async () => {
  const news = await Promise.all(runs.map((run) => run.read()));
  const trouble = document.getElementById("trouble");
  const lost = runs.filter((_, n) => news[n]?.failed).map((run) => shown(run.name));
  trouble.hidden = !lost.length;
  if (lost.length) trouble.textContent = `Cannot be read any more: ${lost.join(", ")}`;
  if (news.some((one) => one?.rows?.length || one?.again)) {
    const found = choices();
    for (const chart of charts) chart.draw(found);
  }
  if (news.some((one) => one?.more)) return 0;
  return news.some((one) => one?.state === "running") ? 1000 : 5000;
});
