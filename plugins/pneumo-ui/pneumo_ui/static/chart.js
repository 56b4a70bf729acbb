// Curves by epoch as an SVG: values on hover, and with the arrow keys.

const SVG = "http://www.w3.org/2000/svg";
const MOST_POINTS = 1000; // of a line; of more, the extremes of each stretch are drawn
const HEIGHT = 240;
const MARGIN = { left: 52, right: 12, top: 8, bottom: 24 };

export function number(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e6)) return value.toExponential(2);
  if (size >= 1000) return value.toLocaleString("en-US", { maximumFractionDigits: 0 });
  return String(Number(value.toPrecision(4)));
}

function element(name, attributes = {}, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

/** Round numbers between two others, about `wanted` of them. */
function ticks(low, high, wanted, whole) {
  const raw = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  let step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= raw);
  if (whole) step = Math.max(1, Math.round(step));
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) found.push(n * step);
  return found;
}

/** At most MOST_POINTS points of a line that look like all of them. */
function thinned(points) {
  if (points.length <= MOST_POINTS) return points;
  const size = Math.ceil(points.length / (MOST_POINTS / 2));
  const kept = [];
  for (let start = 0; start < points.length; start += size) {
    const stretch = points.slice(start, start + size).filter((point) => point[1] !== null);
    if (!stretch.length) continue;
    const low = stretch.reduce((a, b) => (b[1] < a[1] ? b : a));
    const high = stretch.reduce((a, b) => (b[1] > a[1] ? b : a));
    kept.push(...(low[0] <= high[0] ? [low, high] : [high, low]));
  }
  return kept;
}

export class Chart {
  /** figure: where it is drawn. heading: an element for its title, such as a choice of metrics. */
  constructor(figure, heading) {
    this.lines = [];
    this.at = null;
    this.caption = document.createElement("figcaption");
    this.caption.append(heading);
    this.svg = element("svg", { role: "img", tabindex: "0" });
    this.legend = document.createElement("ul");
    this.legend.className = "legend";
    this.readout = document.createElement("p");
    this.readout.className = "readout";
    figure.replaceChildren(this.caption, this.svg, this.legend, this.readout);
    new ResizeObserver(() => this.draw()).observe(figure);
    this.svg.addEventListener("pointermove", (event) => this.point(event.offsetX));
    this.svg.addEventListener("pointerleave", () => this.show(null));
    // Read aloud while somebody moves from epoch to epoch, and not whenever an epoch is finished.
    this.svg.addEventListener("focus", () => this.readout.setAttribute("aria-live", "polite"));
    this.svg.addEventListener("blur", () => {
      this.readout.removeAttribute("aria-live");
      this.show(null);
    });
    this.svg.addEventListener("keydown", (event) => this.key(event));
  }

  /** title: what is shown. lines: [{name, key: 0 to 3, dashed, points: [[epoch, value or null], …]}]. */
  update(title, lines) {
    this.title = title;
    this.lines = lines.filter((line) => line.points.some((point) => point[1] !== null));
    this.draw();
  }

  draw() {
    const width = this.svg.clientWidth;
    if (!width) return;
    const { left, right, top, bottom } = MARGIN;
    const points = this.lines.flatMap((line) => line.points.filter((point) => point[1] !== null));
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.svg.setAttribute("aria-label", this.words());
    this.legend.replaceChildren(...this.lines.map((line) => this.entry(line)));
    if (!points.length) {
      this.svg.replaceChildren(element("text", { x: left, y: HEIGHT / 2 }, "No values yet"));
      return;
    }
    let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity];
    for (const [x, y] of points) {
      x0 = Math.min(x0, x);
      x1 = Math.max(x1, x);
      y0 = Math.min(y0, y);
      y1 = Math.max(y1, y);
    }
    if (x0 === x1) x1 = x0 + 1;
    const room = (y1 - y0) * 0.06 || Math.abs(y1) * 0.1 || 1;
    [y0, y1] = [y0 - room, y1 + room];
    this.x = (epoch) => left + ((epoch - x0) / (x1 - x0)) * (width - left - right);
    this.y = (value) => HEIGHT - bottom - ((value - y0) / (y1 - y0)) * (HEIGHT - top - bottom);
    const drawn = [];
    for (const value of ticks(y0, y1, 5, false)) {
      const y = this.y(value);
      drawn.push(element("line", { class: "grid", x1: left, x2: width - right, y1: y, y2: y }));
      drawn.push(element("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, number(value)));
    }
    for (const epoch of ticks(x0, x1, Math.max(2, Math.min(10, width / 70)), true)) {
      drawn.push(element("text", { x: this.x(epoch), y: HEIGHT - 6, "text-anchor": "middle" }, String(epoch)));
    }
    for (const line of this.lines) drawn.push(...this.drawn(line));
    this.cursor = element("g");
    this.svg.replaceChildren(...drawn, this.cursor);
    this.show(this.at);
  }

  drawn(line) {
    let path = "";
    let pen = false;
    const kept = thinned(line.points);
    for (const [epoch, value] of kept) {
      if (value !== null) path += `${pen ? "L" : "M"}${this.x(epoch).toFixed(1)} ${this.y(value).toFixed(1)}`;
      pen = value !== null;
    }
    const shapes = [element("path", { class: `line k${line.key}${line.dashed ? " dashed" : ""}`, d: path })];
    if (kept.length <= 2) {
      for (const [epoch, value] of kept) {
        if (value !== null) shapes.push(element("circle", { class: `dot k${line.key}`, r: 3, cx: this.x(epoch), cy: this.y(value) }));
      }
    }
    return shapes;
  }

  entry(line) {
    const item = document.createElement("li");
    const key = document.createElement("span");
    key.className = `key k${line.key}${line.dashed ? " dashes" : ""}`;
    item.append(key, line.name);
    return item;
  }

  epochs() {
    return [...new Set(this.lines.flatMap((line) => line.points.map((point) => point[0])))].sort((a, b) => a - b);
  }

  point(offset) {
    if (!this.lines.length || !this.x) return;
    const epochs = this.epochs();
    this.show(epochs.reduce((a, b) => (Math.abs(this.x(b) - offset) < Math.abs(this.x(a) - offset) ? b : a)));
  }

  key(event) {
    const epochs = this.epochs();
    const last = epochs.length - 1;
    const now = this.at === null ? last + 1 : epochs.indexOf(this.at);
    const next = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: last }[event.key];
    if (event.key === "Escape") this.show(null);
    if (next === undefined || last < 0) return;
    event.preventDefault();
    this.show(epochs[Math.max(0, Math.min(last, next))]);
  }

  /** Mark an epoch and say its values; without one, say those of the last. */
  show(epoch) {
    this.at = epoch;
    if (!this.cursor) return;
    const said = epoch ?? this.epochs().at(-1);
    const shapes = [];
    const words = [];
    if (epoch !== null) {
      const x = this.x(epoch);
      shapes.push(element("line", { class: "cursor", x1: x, x2: x, y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom }));
    }
    for (const line of this.lines) {
      const found = line.points.find((point) => point[0] === said);
      if (!found || found[1] === null) continue;
      if (epoch !== null) shapes.push(element("circle", { class: `dot k${line.key}`, r: 4, cx: this.x(said), cy: this.y(found[1]) }));
      words.push(`${line.name} ${number(found[1])}`);
    }
    this.cursor.replaceChildren(...shapes);
    this.readout.textContent = words.length ? `Epoch ${said}: ${words.join(", ")}` : "";
  }

  /** The chart in words. */
  words() {
    const parts = this.lines.map((line) => {
      const values = line.points.filter((point) => point[1] !== null);
      const [first, last] = [values[0], values.at(-1)];
      return `${line.name} from ${number(first[1])} at epoch ${first[0]} to ${number(last[1])} at epoch ${last[0]}`;
    });
    return `${this.title} by epoch: ${parts.join("; ") || "no values yet"}. Arrow keys show single epochs.`;
  }
}
