// The page of a group, kept up to date without a reload.

import { ask, repeat } from "./server.js";

const PAUSE = 3000; // milliseconds
const PARTS = ["facts", "report-link", "member-list"];

repeat(async () => {
  const answer = await ask(location.href);
  if (!answer || !answer.ok) return PAUSE;
  const news = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const id of PARTS) {
    const [old, now] = [document.getElementById(id), news.getElementById(id)];
    if (!old || !now || old.innerHTML === now.innerHTML || old.contains(document.activeElement)) continue;
    old.replaceWith(now);
  }
  return PAUSE;
});
