// Asking the server again and again, without a reload of the page.

const offline = document.getElementById("offline");

/** The answer to a GET, or null if the server does not answer. Says so on the page. */
export async function ask(address, headers = {}) {
  try {
    const answer = await fetch(address, { headers, cache: "no-store", signal: AbortSignal.timeout(15000) });
    offline.hidden = answer.status !== 503;
    return answer.status === 503 ? null : answer;
  } catch {
    offline.hidden = false;
    return null;
  }
}

const MOST = 60; // characters of a name, as in tables
const ESCAPES = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/** A name from a disk as the server shows it: control characters escaped, without its middle if it is long. */
export function shown(name) {
  const escaped = name.replace(/[\p{C}\p{Z}]/gu, (letter) => {
    const code = letter.codePointAt(0).toString(16);
    return letter === " " ? letter : ESCAPES[letter] ?? (code.length > 2 ? "\\u" + code.padStart(4, "0") : "\\x" + code.padStart(2, "0"));
  });
  return escaped.length <= MOST ? escaped : `${escaped.slice(0, 36)}…${escaped.slice(37 - MOST)}`;
}

/** Calls `work` again and again, `work` returning the milliseconds until then; not while the page is hidden. */
export function repeat(work) {
  let timer = 0;
  let busy = false;
  const turn = async () => {
    clearTimeout(timer);
    if (busy || document.hidden) return;
    busy = true;
    let pause = 5000;
    try {
      pause = await work();
    } finally {
      busy = false;
      timer = setTimeout(turn, pause);
    }
  };
  document.addEventListener("visibilitychange", turn);
  turn();
}
