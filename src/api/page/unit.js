// What every part of the technician's page needs: making elements, asking the unit, and the unit's state.
// Data is written as text only, never as markup.

const HEALTH_INTERVAL_MS = 5_000;
const HEALTH_TIMEOUT_MS = 4_000;
const CLOCK_SKEW_SHOWN_S = 5;

export const $ = (id) => document.getElementById(id);
export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
export const percent = (share) => `${(share * 100).toFixed(1)} %`;
export const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
export const spaced = (name) => name.replaceAll("_", " ");

/** An element; strings among the children become text, properties with a dash become attributes. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-")) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** Sets a text only when it changes: screen readers speak every write to a live region. */
export function say(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

// ---- Asking the unit

/** A call that did not succeed, in words for the technician. `ended`: the session is over, nobody wants to know. */
export class Refused extends Error {
  constructor(message, { status = 0, waitSeconds = 0, ended = false } = {}) {
    super(message);
    Object.assign(this, { status, waitSeconds, ended });
  }
}

/** The text of an answer, or a `Refused`. */
export async function fetched(path, options, timeout) {
  let answer, body;
  try {
    // Relative addresses: a proxy may put a path before the unit's.
    answer = await fetch(path, { credentials: "omit", ...options, signal: AbortSignal.timeout(timeout), cache: "no-store" });
    body = await answer.text();
  } catch {
    throw new Refused("The unit does not answer. Check the cable or the network, then try again.");
  }
  if (answer.ok) return body;
  const { status, headers } = answer;
  let said = {};
  try { said = JSON.parse(body); } catch { /* Not the unit's own words, perhaps a proxy's: the status must do. */ }
  const request = status >= 500 && said.request_id ? ` (Request ${said.request_id})` : "";
  const words = (said.message ?? `The unit answers with status ${status}.`) + request;
  throw new Refused(words, { status, waitSeconds: Number(headers.get("Retry-After")) || 0 });
}

/** Runs `work`; why it fails goes to `message`. */
export async function attempt(message, work) {
  message.textContent = "";
  try {
    await work();
  } catch (error) {
    if (!error.ended) message.textContent = wordsFor(error);
    return error;
  }
}

export function wordsFor(error) {
  if (error instanceof Refused) return error.message;
  console.error(error);
  return "This page cannot read the unit's answer. Reload the page: the unit may have been updated.";
}

// ---- State of the unit, visible to everybody

const MARKS = { good: "✓", warn: "!", bad: "✕", none: "" };
const NAMES = { good: "Healthy", warn: "Degraded", bad: "No answer" };

const part = (works, yes, no, level = "bad") => (works === null ? ["none", "Not configured"] : works ? ["good", yes] : [level, no]);

/** What /health says, part by part: title, and level, words and perhaps further words. */
const PARTS = [
  ["Camera", (health) => part(health.camera_connected, "Connected", "No frames")],
  ["Database", (health) => part(health.database_healthy, "Works", "No answer")],
  ["Model", (health) => part(health.models_loaded, "Loaded", "Not loaded")],
  ["Clock", (health) => [...part(health.clock_synchronized, "In sync", "Not in sync", "warn"), skew(health.timestamp)]],
  ["Redis", (health) => part(health.redis_connected, "Connected", "Not connected", "warn")],
  ["Uptime", (health) => ["none", duration(health.uptime_seconds)]],
  ["Version", (health) => ["none", health.version]],
];

/** How far the unit's clock is from this device's: the quickest hint at a wrong one. */
function skew(timestamp) {
  const seconds = Math.round((Date.parse(timestamp) - Date.now()) / 1_000);
  if (Math.abs(seconds) < CLOCK_SKEW_SHOWN_S) return "";
  return `${duration(Math.abs(seconds))} ${seconds > 0 ? "ahead of" : "behind"} this device`;
}

function duration(seconds) {
  const [days, hours, minutes] = [seconds / 86_400, (seconds / 3_600) % 24, (seconds / 60) % 60].map(Math.floor);
  return days ? `${days} d ${hours} h` : hours ? `${hours} h ${minutes} min` : minutes ? `${minutes} min` : `${seconds} s`;
}

let answered = null;

async function checkHealth() {
  try {
    showHealth(JSON.parse(await fetched("health", {}, HEALTH_TIMEOUT_MS)));
  } catch (error) {
    const lost = "Check that it has power, that the cable or Wi-Fi is connected, and that the address is right.";
    const [headline, reason] = error.status === 0 ? ["The unit does not answer", lost] : ["The unit is in trouble", wordsFor(error)];
    showState("bad", headline, [reason]);
    const last = answered ? `Last good answer ${answered.toLocaleTimeString()}` : "No good answer yet";
    say("checked", `${last}; trying again every ${HEALTH_INTERVAL_MS / 1_000} s`);
  }
}

function showHealth(health) {
  answered = new Date();
  const well = health.status === "healthy";
  $("parts").replaceChildren(...PARTS.map(([title, read]) => {
    const [level, words, more = ""] = read(health);
    const mark = make("span", { className: "dot", "data-level": level, "aria-hidden": "true" }, MARKS[level]);
    return make("div", {}, make("dt", {}, title), make("dd", {}, mark, make("span", {}, words), make("small", {}, more)));
  }));
  showState(well ? "good" : "warn", well ? "Healthy – all parts work" : "Degraded", health.reasons);
  say("checked", `Checked ${answered.toLocaleTimeString()}`);
}

function showState(level, headline, reasons) {
  $("status").dataset.level = $("pill").dataset.level = level;
  $("pill").dataset.mark = MARKS[level];
  say("mark", MARKS[level]);
  say("pill", NAMES[level]);
  say("headline", headline);
  const list = $("reasons");
  const shown = [...list.children].map((item) => item.textContent);
  if (shown.join("\n") !== reasons.join("\n")) list.replaceChildren(...reasons.map((reason) => make("li", {}, reason)));
  // What was known before the silence is not what is.
  $("parts").classList.toggle("stale", level === "bad");
  document.title = `${MARKS[level]} ${NAMES[level]} – Vehicle classifier`;
}

/** Shows the unit's state from now on. */
export function watchHealth() {
  checkHealth();
  // Also as soon as a laptop is opened again: an old state must not stand there for seconds.
  const checkIfSeen = () => document.hidden || checkHealth();
  setInterval(checkIfSeen, HEALTH_INTERVAL_MS);
  document.addEventListener("visibilitychange", checkIfSeen);
}
