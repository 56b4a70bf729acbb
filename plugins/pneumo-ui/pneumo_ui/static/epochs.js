// The epochs of one run, read in pieces from the server.

import { ask } from "./server.js";

const MOST = 20000; // epochs that are kept; of more, the last ones

export class Epochs {
  constructor(name) {
    this.name = name;
    this.labels = {};
    this.clear();
  }

  clear() {
    this.rows = [];
    this.position = "";
    this.damaged = 0;
  }

  /** What is new, as the server says it; null if it does not answer. `more`: of the address. */
  async read(more = {}) {
    const address = "/run/progress?" + new URLSearchParams({ name: this.name, epochs: this.position, ...more });
    const answer = await ask(address);
    if (!answer) return null;
    if (!answer.ok) return { failed: answer.status };
    const news = await answer.json();
    if (news.again) this.clear();
    this.position = news.position;
    this.damaged += news.damaged;
    Object.assign(this.labels, news.labels);
    for (const row of news.rows) {
      // A resumed run may write an epoch again: the newer one counts.
      while (this.rows.length && this.rows.at(-1).epoch >= row.epoch) this.rows.pop();
      this.rows.push(row);
    }
    if (this.rows.length > MOST) this.rows.splice(0, this.rows.length - MOST);
    return news;
  }

  /** The names of the metrics of a side, "train" or "validation". */
  metrics(side) {
    return Object.keys(this.rows.at(-1)?.[side] ?? {});
  }

  label(metric) {
    return this.labels[metric] ?? metric;
  }

  points(side, metric) {
    return this.rows.map((row) => [row.epoch, row[side][metric] ?? null]);
  }
}
