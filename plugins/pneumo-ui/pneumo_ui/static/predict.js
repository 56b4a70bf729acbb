// Sends images to the server one after another, and shows what is predicted.

const page = document.getElementById("predict");
const get = (id) => document.getElementById(id);
const model = get("model");
const drop = get("drop");
const results = get("results").querySelector("tbody");
let queue = [];
let done = 0;
let working = false;
let asked = 0; // a number per list of examples, so that a late answer for another model is not shown

/** An element with text and children; text is never taken as HTML. */
function make(tag, { text = "", className = "", ...properties } = {}, ...children) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  if (className) made.className = className;
  Object.assign(made, properties);
  made.append(...children);
  return made;
}

const address = (path, more = {}) => `${path}?${new URLSearchParams({ name: model.value, ...more })}`;

// --- sending ---

async function predicted(file) {
  if (file.size > Number(page.dataset.largest)) {
    return { file: file.name, error: `larger than ${Math.round(Number(page.dataset.largest) / 2 ** 20)} MB` };
  }
  for (;;) {
    let answer;
    try {
      answer = await fetch(file.address, {
        method: "POST",
        body: file.content,
        headers: { "Content-Type": "application/octet-stream", "X-File-Name": encodeURIComponent(file.name) },
      });
    } catch {
      return { file: file.name, error: "the server did not answer" };
    }
    if (answer.status !== 503) {
      try {
        return await answer.json();
      } catch {
        return { file: file.name, error: `the server answered with ${answer.status}` };
      }
    }
    await new Promise((resume) => setTimeout(resume, 2000)); // it is busy
  }
}

async function work() {
  if (working) return;
  working = true;
  let last;
  while (queue.length) {
    const file = queue.shift();
    get("progress").textContent = `Predicting ${file.name}, ${done + 1} of ${done + 1 + queue.length} …`;
    last = await predicted(file);
    done += 1;
    addRow(last);
  }
  const failed = results.querySelectorAll("tr.failed").length;
  const shown = results.rows.length;
  get("progress").textContent = `${shown} image${shown === 1 ? "" : "s"}${failed ? `, ${failed} could not be predicted` : ""}.`;
  if (done === 1 && last && !last.error) showDetail(last);
  working = false;
  done = 0;
}

function send(files) {
  // The address is that of the model chosen now, whatever is chosen later.
  queue.push(...[...files].map((file) => ({ name: file.name, size: file.size, content: file, address: address("/predict/image") })));
  if (queue.length) work();
}

// --- results ---

function addRow(found) {
  get("results").hidden = false;
  const picture = found.thumbnail ? make("img", { src: found.thumbnail, alt: "", width: 48 }) : "";
  const remarks = found.error ? found.error : (found.doubts || []).join("; ");
  const name = found.error ? make("span", { text: found.file }) : make("button", { type: "button", text: found.file, className: "name", onclick: () => showDetail(found) });
  const row = make(
    "tr",
    { className: found.error ? "failed" : "" },
    make("td", {}, picture),
    make("th", { scope: "row" }, name),
    make("td", { text: found.error ? "–" : [...found.predicted, ...found.values].join(", ") }),
    make("td", { className: "number", text: found.error || !found.shares.length ? "–" : probability(found) }),
    make("td", { className: remarks ? "remark" : "", text: remarks }),
  );
  results.prepend(row);
}

/** That of the class that is predicted, with its name; where no label is predicted, the highest one. */
function probability(found) {
  const of = found.shares.find((share) => share.name === found.predicted[0]) || found.shares[0];
  return `${of.name} ${of.text}`;
}

function showDetail(found) {
  get("detail").hidden = false;
  get("detail-title").textContent = found.file;
  get("verdict").textContent = [...found.predicted, ...found.values].join(", ");
  get("evidence").hidden = !found.overlay;
  if (found.overlay) get("evidence").src = found.overlay;
  get("evidence").alt = found.shares.length ? `Map of evidence for ${found.explained} over ${found.file}` : found.file;
  get("evidence-note").textContent = found.overlay && found.shares.length ? `Map of evidence (Grad-CAM) for ${found.explained}: bright regions raised its score most.` : "";
  const doubts = [...found.doubts.map((doubt) => `Do not trust it: ${doubt}.`)];
  if (found.synthetic) doubts.push("The model was trained on synthetic images: what it says of a real radiograph means nothing.");
  get("doubts").hidden = !doubts.length;
  get("doubts").replaceChildren(...doubts.map((text) => make("li", { text })));
  get("shares").replaceChildren(...found.shares.slice(0, 8).map(bar));
  get("calibration").textContent = found.calibration;
  get("points").hidden = !found.decisions.length;
  get("points").querySelector("tbody").replaceChildren(
    ...found.decisions.map((one) =>
      make("tr", {}, make("th", { scope: "row", text: one.point + (one.used ? " (in use)" : "") }), make("td", { text: one.predicted.join(", ") }), make("td", { className: "number", text: one.threshold || "–" }), make("td", { text: one.rule })),
    ),
  );
  get("detail").focus({ preventScroll: false });
}

function bar(share) {
  const value = make("meter", { min: 0, max: 1, value: share.share });
  value.setAttribute("aria-label", `Probability of ${share.name}`);
  return make("p", { className: "share" }, make("span", { text: share.name }), value, make("span", { className: "number", text: share.text }));
}

// --- examples ---

async function showExamples() {
  const mine = ++asked;
  let list = [];
  try {
    const answer = await fetch(address("/predict/examples"));
    if (answer.ok) list = await answer.json();
  } catch {
    list = [];
  }
  if (mine !== asked) return;
  get("examples").hidden = !list.length;
  get("examples").querySelector("ul").replaceChildren(...list.map(exampleButton));
}

function exampleButton(example) {
  const place = address("/predict/example", { example: example.name });
  const target = address("/predict/image");
  const button = make("button", { type: "button" }, make("img", { src: address("/predict/example", { example: example.name, thumbnail: 1 }), alt: "", width: 96, height: 96, loading: "lazy" }), make("span", { text: example.truth || example.name }));
  button.setAttribute("aria-label", `Predict the example ${example.name}${example.truth ? `, in truth ${example.truth}` : ""}`);
  button.onclick = async () => {
    try {
      const answer = await fetch(place);
      if (!answer.ok) throw new Error();
      const content = await answer.blob();
      queue.push({ name: example.name, size: content.size, content, address: target });
      work();
    } catch {
      get("progress").textContent = `The example ${example.name} cannot be read.`;
    }
  };
  return make("li", {}, button);
}

// --- the page ---

if (page) {
  get("files").addEventListener("change", (event) => {
    send(event.target.files);
    event.target.value = "";
  });
  for (const name of ["dragenter", "dragover"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  document.addEventListener("dragleave", (event) => event.relatedTarget || drop.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    send(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => send(event.clipboardData.files));
  model.addEventListener("change", showExamples);
  showExamples();
}
