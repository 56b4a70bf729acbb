"use strict";
// The page is complete without this script. With it long tables are sorted and searched, lines say their values where
// one points, and animations play and stop. All text is set as text: nothing of a report becomes markup.

const LONG = 15; // rows of a table, from which on it is searched

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// --- tables ----------------------------------------------------------------------------------------------------

/** A cell as {text, number, unit}; the number of "0.881 (0.85–0.91)" is 0.881, and of "–" there is none. */
function parsed(cell) {
  const text = cell.textContent.trim().replace(/\u2212/g, "-").replace(/\s+/g, " ");
  const found = /^[<>≤≥~≈]?\s?([+-]?(?:\d[\d,]*\.?\d*|\.\d+)(?:e[+-]?\d+)?)(?![\w.-])\s*([^\s\d(]*)/i.exec(text);
  const missing = /^[–—-]?$/.test(text);
  return { text, missing, number: found && Number(found[1].replace(/,/g, "")), unit: found && found[2] };
}

function sort(table, column, heading) {
  const body = table.tBodies[0];
  const descending = heading.getAttribute("aria-sort") === "ascending";
  const rows = [...body.rows].map((row) => ({ row, ...parsed(row.cells[column]) }));
  const known = rows.filter((each) => !each.missing);
  const numeric = known.every((each) => each.number !== null && each.unit === known[0].unit);
  const byText = (a, b) => a.text.localeCompare(b.text, "en", { numeric: true });
  const order = numeric ? (a, b) => a.number - b.number || byText(a, b) : byText;
  known.sort((a, b) => (descending ? order(b, a) : order(a, b)));
  body.append(...known.concat(rows.filter((each) => each.missing)).map((each) => each.row));
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
}

function sortable(table) {
  [...(table.tHead?.rows[0].cells ?? [])].forEach((heading, column) => {
    if (!heading.textContent.trim()) return;
    const button = make("button", { type: "button", className: "sort" }, ...heading.childNodes);
    button.addEventListener("click", () => sort(table, column, heading));
    heading.append(button);
  });
}

function searchable(table, frame) {
  const rows = [...table.tBodies[0].rows];
  const field = make("input", { type: "search", autocomplete: "off", spellcheck: false });
  const count = make("output", {}, `${rows.length} rows`);
  const title = table.getAttribute("aria-label");
  if (title) field.setAttribute("aria-label", `Search: ${title}`);
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    const left = rows.filter((row) => !row.hidden).length;
    count.textContent = left < rows.length ? `${left} of ${rows.length}` : `${left} rows`;
  });
  frame.before(make("div", { className: "search" }, make("label", {}, "Search ", field), count));
}

// --- lines of figures ------------------------------------------------------------------------------------------

const shown = (value) => String(Number(value.toPrecision(4))).replace("-", "\u2212");

/** Where a value stands between the ends of an axis, as a share. */
function share(axis, value) {
  const [first, last, at] = [...axis.limits, value].map((each) => (axis.log ? Math.log(each) : each));
  return (at - first) / (last - first);
}

/** The places of one axes at which values are shown, in rows between which the keys up and down move. */
function places(axes) {
  const [left, bottom, width, height] = axes.box;
  const points = axes.series.map((series) =>
    series.x
      .map((x, index) => {
        const across = left + width * share(axes.x, x);
        const down = 1 - bottom - height * share(axes.y, series.y[index]);
        const more = series.values ? `${series.more} ${shown(series.values[index])}` : "";
        return { x, y: series.y[index], across, down, more, label: series.label, color: series.color };
      })
      .filter((point) => point.across > left - 0.01 && point.across < left + width + 0.01)
      .filter((point) => point.down > 1 - bottom - height - 0.01 && point.down < 1.01 - bottom),
  );
  const functions = points.every((line) => line.every((point, i) => !i || point.x > line[i - 1].x));
  const name = axes.y.label;
  if (!functions || points.every((line) => line.length < 2)) {
    // Such as ROC: a place is a point of one line.
    const texts = (point) => [`${axes.x.label || "x"} ${shown(point.x)}`, `${name || "y"} ${shown(point.y)}`];
    return points.map((line) =>
      line.map((point) => {
        const lines = [point.label, ...texts(point), point.more].filter(Boolean);
        return { across: point.across, points: [point], axes, lines, free: true };
      }),
    );
  }
  const all = [...new Set(points.flat().map((point) => point.x))].sort((a, b) => a - b);
  const row = all.map((x) => {
    const here = points.flat().filter((point) => point.x === x);
    const values = here.map((point) => `${point.label || name || "y"} ${shown(point.y)}`);
    const title = here.some((point) => point.label) ? [name] : [];
    const lines = [...title, `${axes.x.label || "x"} ${shown(x)}`, ...values].filter(Boolean);
    return { across: here[0].across, points: here, axes, lines, free: false };
  });
  return [row];
}

function readable(figure) {
  const image = figure.querySelector("img");
  const rows = JSON.parse(figure.dataset.lines).flatMap(places).filter((row) => row.length);
  if (!rows.length) return;
  const box = make("output", { className: "values" });
  const reader = make("div", { className: "reader", tabIndex: 0 });
  const caption = figure.querySelector("figcaption")?.textContent ?? "";
  const plot = make("div", { className: "plot" });
  image.replaceWith(plot);
  plot.append(image, reader);
  let [row, index] = [0, -1];
  const set = (name, value) => reader.setAttribute(name, value);
  const bounds = () => (set("aria-valuemax", rows[row].length - 1), set("aria-valuenow", Math.max(index, 0)));
  set("role", "slider");
  set("aria-label", `Values of the lines, with the arrow keys. ${caption.slice(0, 80)}`);
  set("aria-valuemin", 0);
  set("aria-valuetext", "no value is selected");
  bounds();

  function hide() {
    reader.replaceChildren();
  }

  function show(atRow, atIndex) {
    [row, index] = [atRow, atIndex];
    const place = rows[row][index];
    const top = 1 - place.axes.box[1] - place.axes.box[3];
    const percent = (part) => `${100 * part}%`;
    const marks = place.points.map((point) => {
      const dot = make("span", { className: "dot" });
      Object.assign(dot.style, { left: percent(point.across), top: percent(point.down), borderColor: point.color });
      return dot;
    });
    const rule = make("span", { className: "rule", hidden: place.free });
    Object.assign(rule.style, { left: percent(place.across), top: percent(top), height: percent(place.axes.box[3]) });
    box.replaceChildren(...place.lines.map((line) => make("span", {}, line)));
    // Beside the place, on the side and at the end of the axes where there is room.
    const [rightward, low] = [place.across < 0.55, place.points[0].down < top + place.axes.box[3] / 2];
    Object.assign(box.style, { left: "", right: "", top: "", bottom: "" });
    box.style[rightward ? "left" : "right"] = `calc(${percent(rightward ? place.across : 1 - place.across)} + .7em)`;
    const [above, ends] = [place.points[0].down, [place.axes.box[1] + 0.02, top]];
    if (place.free) box.style[low ? "top" : "bottom"] = percent(low ? above : 1 - above); // beside it: ROC has a legend below
    else box.style[low ? "bottom" : "top"] = percent(ends[low ? 0 : 1]);
    reader.replaceChildren(rule, ...marks, box);
    bounds();
    set("aria-valuetext", place.lines.join(" · "));
  }

  function point(event) {
    const area = reader.getBoundingClientRect();
    const [across, down] = [(event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height];
    let nearest = [Infinity];
    rows.forEach((line, atRow) => {
      const [left, bottom, width, height] = line[0].axes.box;
      const within = Math.abs(across - left - width / 2) < width / 2 + 0.02;
      if (!within || Math.abs(1 - down - bottom - height / 2) > height / 2 + 0.03) return;
      line.forEach((place, atIndex) => {
        const aside = area.width * (place.across - across);
        const away = place.free ? Math.hypot(aside, area.height * (place.points[0].down - down)) : Math.abs(aside);
        if (away < nearest[0]) nearest = [away, atRow, atIndex];
      });
    });
    if (nearest[0] < Infinity) show(nearest[1], nearest[2]);
    else hide();
  }

  function press(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity }[event.key];
    const turn = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (event.key === "Escape") return hide();
    if (step === undefined && turn === undefined) return;
    event.preventDefault();
    const next = (row + (turn ?? 0) + rows.length) % rows.length;
    const moved = index < 0 ? 0 : index + (step ?? 0);
    show(next, Math.max(0, Math.min(rows[next].length - 1, moved)));
  }

  reader.addEventListener("pointermove", point);
  reader.addEventListener("pointerdown", point);
  reader.addEventListener("pointerleave", hide);
  reader.addEventListener("blur", hide);
  reader.addEventListener("keydown", press);
}

// --- animations ------------------------------------------------------------------------------------------------

function playable(image) {
  const still = image.src;
  const button = make("button", { type: "button", className: "play" });
  const play = (moving) => {
    image.src = moving ? image.dataset.animation : still;
    button.textContent = moving ? "Stop" : "Play";
  };
  button.addEventListener("click", () => play(image.src === still));
  addEventListener("beforeprint", () => play(false));
  image.after(button);
  play(!matchMedia("(prefers-reduced-motion: reduce)").matches);
}

// --- the page --------------------------------------------------------------------------------------------------

/** A link to a folded section opens it. */
function unfold() {
  const details = location.hash.length > 1 && document.getElementById(location.hash.slice(1))?.querySelector("details.section");
  if (details) details.open = true;
}

addEventListener("hashchange", unfold);
unfold();
for (const frame of document.querySelectorAll(".table")) {
  const table = frame.querySelector("table");
  if (table.tBodies[0].rows.length <= LONG) continue;
  sortable(table);
  searchable(table, frame);
}
for (const figure of document.querySelectorAll("figure[data-lines]")) readable(figure);
for (const image of document.querySelectorAll("img[data-animation]")) playable(image);
