// The technician's page. It talks to the unit's public API alone, keeps its token in this module's memory (never in a
// cookie or in the browser's storage, where it would outlive the visit), and writes data as text only, never as markup.

import { $, sleep, percent, plural, spaced, make, say, Refused, fetched, attempt, wordsFor, watchHealth } from "./unit.js";
import { openRoad } from "./road.js";

// Above the unit's own limit of 60 s a request, so that its answer wins.
const CALL_TIMEOUT_MS = 90_000;
// Far below the unit's limits (64 files, 64 MiB): results come in steps, and a weak link repeats little.
const BATCH_FILES_MAX = 8;
const BATCH_BYTES_MAX = 32 << 20;
const BUSY_TRIES_MAX = 5;
const BUSY_WAIT_MAX_S = 10;
const AUDIT_PAGE = 25;
const PASSWORD_LENGTH_MIN = 15;
const THUMBNAIL_PX = 192;
// Longer timers overflow and fire at once.
const TIMER_MAX_MS = 2 ** 31 - 1;

// ---- Calling the unit

/** `{ token, name, admin, mustChange, timer }` while somebody is logged in. */
let session = null;

/** The text of an answer to the logged-in user. `keepsSession`: a 401 speaks of the body, not of the token. */
async function call(path, options = {}, keepsSession = false) {
  const mine = session;
  const headers = { ...options.headers, ...(mine && { Authorization: `Bearer ${mine.token}` }) };
  try {
    return await fetched(path, { ...options, headers }, CALL_TIMEOUT_MS);
  } catch (error) {
    if (error.status === 401 && mine && mine === session && !keepsSession) end("Your session has ended. Log in again to go on.");
    throw error;
  } finally {
    // An answer that comes after the log-out is nobody's any more; this outdoes the return and the throw above.
    if (mine !== session) throw new Refused("The session has ended.", { ended: true });
  }
}

/** The whole answer, for what is not text; a `Refused` like `call`'s. */
async function ask(path) {
  const mine = session;
  if (!mine) throw new Refused("The session has ended.", { ended: true });
  const options = { headers: { Authorization: `Bearer ${mine.token}` }, cache: "no-store", credentials: "omit" };
  const answer = await fetch(path, { ...options, signal: AbortSignal.timeout(CALL_TIMEOUT_MS) }).catch(() => null);
  if (mine !== session) throw new Refused("The session has ended.", { ended: true });
  // Whatever is wrong, the other way of asking knows the words for it.
  if (!answer?.ok) await call(path);
  return answer;
}

const data = async (...request) => JSON.parse(await call(...request)).data;
const json = (body) => ({ method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

/** Runs `work` when the form is sent, once at a time, and counts down when the unit wants a pause. */
function onSubmit(form, work) {
  const button = form.querySelector("button");
  const label = button.textContent;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    // Not `disabled`: that would take the keyboard focus away.
    if (button.ariaDisabled === "true") return;
    button.ariaDisabled = "true";
    const error = await attempt(form.querySelector(".message.bad"), work);
    for (let left = error?.waitSeconds ?? 0; left > 0; left -= 1) {
      button.textContent = `${label} – wait ${left} s`;
      await sleep(1_000);
    }
    button.textContent = label;
    button.ariaDisabled = "false";
  });
}

// ---- Coming and going

/** What a token says of itself. Only for what is shown: what is allowed, the unit decides at each request. */
function claimsOf(token) {
  try {
    const text = atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"));
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (letter) => letter.charCodeAt(0))));
  } catch {
    return {};
  }
}

async function logIn() {
  const [username, password] = [$("username").value, $("password").value];
  say("login-notice", "");
  const answer = JSON.parse(await call("auth/token", { ...json({ username, password }), credentials: "same-origin" }));
  const { role, iss } = claimsOf(answer.access_token);
  const lifetime = answer.expires_in * 1_000;
  const timer = setTimeout(() => end("Your session has ended. Log in again to go on."), Math.min(lifetime, TIMER_MAX_MS));
  session = { token: answer.access_token, name: username, admin: role === "admin", mustChange: answer.must_change_password, timer };
  resetForms();
  $("change-name").value = username;
  // The first password is long and random: typed once is enough.
  $("current-password").value = session.mustChange ? password : "";
  say("unit", [iss, location.host].filter(Boolean).join(" · "));
  const until = new Date(Date.now() + lifetime).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  say("session-end", `${username}${session.admin ? " (administrator)" : ""}, logged in until ${until}`);
  // On a phone the work needs the room; the status line stays.
  $("facts").open = matchMedia("(min-width: 48rem)").matches;
  enter();
}

function enter() {
  showStage(session.mustChange ? "change" : "work");
  const sections = [...document.querySelectorAll("section[data-title]")];
  const open = sections.filter((section) => session.admin || !("admin" in section.dataset));
  $("sections").replaceChildren(...open.map(({ id, dataset }) => make("a", { href: `#${id}` }, dataset.title)));
  showSection();
}

/** Back to the login; nothing of the session stays on the page but the name, for who comes back after an expiry. */
function end(notice, name = session.name) {
  clearTimeout(session.timer);
  const lost = waiting.length ? ` ${plural(waiting.length, "picture")} not classified yet: choose them again then.` : "";
  session = null;
  clearResults();
  $("report-dialog").close();
  resetForms();
  for (const message of document.querySelectorAll(".message[role]")) message.textContent = "";
  for (const id of ["model-facts", "audit-rows", "session-end"]) $(id).replaceChildren();
  say("unit", location.host);
  $("facts").open = true;
  showStage("login");
  say("login-notice", notice + lost);
  $("username").value = name;
  $(name ? "password" : "username").focus();
}

async function logOut() {
  const headers = { Authorization: `Bearer ${session.token}` };
  end("You are logged out.", "");
  // Without an answer the token lives on until it expires: say so.
  const failed = await fetched("auth/logout", { method: "POST", headers }, CALL_TIMEOUT_MS).catch((error) => error.status !== 401);
  if (failed === true && !session) say("login-notice", "You are logged out here, but the unit did not confirm it.");
}

async function changePassword() {
  const [current, wanted] = [$("current-password").value, $("new-password").value];
  say("change-done", "");
  if (wanted !== $("repeat-password").value) throw new Refused("The two new passwords differ. Type them again.");
  await call("auth/password", json({ current_password: current, new_password: wanted }), true);
  resetForms();
  $("change-name").value = session.name;
  if (!session.mustChange) return say("change-done", "The password is changed.");
  session.mustChange = false;
  enter();
}

/** Empties all forms and hides their passwords again. */
function resetForms() {
  for (const form of document.forms) form.reset();
  for (const box of document.querySelectorAll("[data-shows]")) box.dispatchEvent(new Event("change"));
  say("length", "");
}

function showStage(stage) {
  for (const element of document.querySelectorAll("[data-stage]")) {
    element.hidden = !element.dataset.stage.split(" ").includes(stage);
  }
}

/** What a section loads each time it is opened. */
const OPENERS = { road: () => openRoad(ask, () => session && !$("road").hidden), model: () => attempt($("model-message"), openModel), audit: () => openAudit() };

function showSection() {
  if (!session) return;
  const links = [...$("sections").children];
  const wanted = links.find((link) => link.hash === location.hash) ?? links.find((link) => link.ariaCurrent) ?? links[0];
  const name = session.mustChange ? "account" : wanted.hash.slice(1);
  for (const section of document.querySelectorAll("section[data-title]")) section.hidden = section.id !== name;
  for (const link of links) link.ariaCurrent = link === wanted ? "page" : null;
  wanted.scrollIntoView({ block: "nearest", inline: "center" });
  $(name).querySelector("h2").focus({ preventScroll: true });
  OPENERS[name]?.();
}

// ---- Classifying pictures

/** Rows whose pictures are still to be sent: `{ file, owner, element, result, confidence }`. */
let waiting = [];
let sending = false;
const tally = { good: 0, bad: 0, milliseconds: 0 };
/** One thumbnail at a time: sixty decoded photos at once would be too much for a phone. */
let thumbnails = Promise.resolve();

function take(files) {
  const rows = [...files].map((file) => {
    const canvas = make("canvas", { width: 4, height: 3, "aria-hidden": "true" });
    thumbnails = thumbnails.then(() => draw(file, canvas));
    const cells = [[canvas], ["Waiting…"], []].map((content) => make("td", { role: "cell" }, ...content));
    return { file, owner: session, element: make("tr", { role: "row" }, ...cells), result: cells[1], confidence: cells[2] };
  });
  $("rows").prepend(...rows.map((row) => row.element));
  waiting.push(...rows);
  send();
}

/** Draws a small picture by way of a bitmap, which needs no `blob:` in the content policy as an <img> would. */
async function draw(file, canvas) {
  try {
    const bitmap = await createImageBitmap(file, { resizeWidth: THUMBNAIL_PX, resizeQuality: "medium" });
    Object.assign(canvas, { width: bitmap.width, height: bitmap.height }).getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
  } catch {
    canvas.classList.add("blank");
  }
}

async function send() {
  if (sending) return;
  sending = true;
  while (waiting.length) {
    showTally();
    let bytes = 0;
    const full = waiting.findIndex((row, place) => (bytes += row.file.size) > BATCH_BYTES_MAX && place > 0);
    const rows = waiting.slice(0, Math.min(BATCH_FILES_MAX, full < 0 ? waiting.length : full));
    await classify(rows);
    waiting = waiting.filter((row) => !rows.includes(row));
  }
  sending = false;
  showTally();
}

/** Fills in each row's result, or the reason why there is none; never throws. Rows of an ended session are left alone. */
async function classify(rows, tries = 1) {
  if (rows[0].owner !== session) return;
  const form = new FormData();
  for (const { file } of rows) form.append("files", file, file.name);
  try {
    const answer = await data("api/vehicle/classify-batch", { method: "POST", body: form });
    for (const { index, data: found, error } of answer.results) {
      if (found) showResult(rows[index], found);
      else showFault(rows[index], error.message, false);
    }
  } catch (error) {
    if (error.ended) return;
    if (error.waitSeconds && tries < BUSY_TRIES_MAX) {
      await sleep(Math.min(error.waitSeconds, BUSY_WAIT_MAX_S) * 1_000);
      await classify(rows, tries + 1);
    } else if (error.status === 413 && rows.length > 1) {
      // One file over the size limit refuses the whole upload: the others must not suffer.
      for (const row of rows) await classify([row]);
    } else {
      for (const row of rows) showFault(row, wordsFor(error), [0, 429, 503].includes(error.status));
    }
  }
}

const fileName = (file) => make("span", { className: "file" }, file.name);
const smallButton = (label, file, onclick) =>
  make("button", { type: "button", className: "plain small", onclick, "aria-label": `${label}: ${file.name}` }, label);
/** The number stands beside it in words, so the bar itself is silent. */
const meter = (value) => make("meter", { max: 1, low: 0.6, high: 0.8, optimum: 1, value, ariaHidden: "true" });

function showResult({ file, result, confidence }, found) {
  const { type, ...others } = found.predictions;
  tally.good += 1;
  tally.milliseconds += found.processing_time_ms;
  const attributes = Object.values(others).map((other) => make("p", {}, `${spaced(other.attribute)}: ${other.value} (${percent(other.confidence)})`));
  const top = type.top.map(({ label, probability }) =>
    make("li", {}, make("span", {}, label), meter(probability), make("span", {}, percent(probability))));
  const { width, height, format } = found.image;
  const facts = `${width} × ${height} ${format}, ${found.processing_time_ms.toFixed(1)} ms, ${found.model} ${found.model_version}`;
  result.replaceChildren(make("strong", {}, type.value), fileName(file), ...attributes, make("details", {},
    make("summary", {}, "More"), make("ol", {}, ...top), make("p", { className: "hint" }, facts),
    smallButton("Make a report", file, () => prepareReport(file))));
  const { level } = type.confidence_metrics;
  confidence.replaceChildren(make("span", { className: "share" }, percent(type.confidence)), meter(type.confidence),
    make("span", { className: "level", "data-level": level }, level.toLowerCase()));
}

function showFault(row, message, passing) {
  tally.bad += 1;
  const again = () => {
    tally.bad -= 1;
    row.result.replaceChildren("Waiting…");
    row.confidence.replaceChildren();
    waiting.push(row);
    send();
  };
  // The row names the file already.
  const words = message.replace(`${row.file.name}: `, "");
  row.result.replaceChildren(make("strong", { className: "fault" }, "Not classified"), fileName(row.file), make("p", { className: "fault" }, words));
  row.confidence.replaceChildren(...(passing ? [smallButton("Try again", row.file, again)] : []));
}

function showTally() {
  const { good, bad, milliseconds } = tally;
  const left = waiting.length;
  for (const id of ["results-head", "results"]) $(id).hidden = good + bad + left === 0;
  $("progress").hidden = left === 0;
  $("clear").hidden = left > 0;
  Object.assign($("progress-bar"), { max: good + bad + left || 1, value: good + bad });
  const average = good && !left ? `${(milliseconds / good).toFixed(1)} ms on average` : "";
  say("summary", [`${good} classified`, bad ? `${bad} failed` : "", left ? `${left} to go` : "", average].filter(Boolean).join(", "));
}

function clearResults() {
  waiting = [];
  Object.assign(tally, { good: 0, bad: 0, milliseconds: 0 });
  $("rows").replaceChildren();
  showTally();
}

// ---- Reports

function prepareReport(file) {
  const bag = new DataTransfer();
  bag.items.add(file);
  $("report-file").files = bag.files;
  location.hash = "#report";
}

async function makeReport() {
  const form = new FormData();
  form.append("format", "html");
  if ($("vehicle-id").value) form.append("vehicle_id", $("vehicle-id").value);
  form.append("file", $("report-file").files[0]);
  showReport(await call("api/vehicle/report", { method: "POST", body: form }));
}

const findReport = async () => showReport(await call(`api/vehicle/report/${encodeURIComponent($("find-id").value)}?format=html`));

function showReport(html) {
  const address = URL.createObjectURL(new Blob([html], { type: "text/html" }));
  // A parsed document that is never shown runs nothing: it is read for its title only.
  const { title } = new DOMParser().parseFromString(html, "text/html");
  say("report-title", title);
  $("report-tab").href = $("report-save").href = address;
  $("report-save").download = `${title.replaceAll(/[^A-Za-z0-9._-]+/g, "-")}.html`;
  $("report-frame").srcdoc = html;
  $("report-dialog").showModal();
  $("report-title").focus();
  $("report-dialog").onclose = () => {
    $("report-frame").removeAttribute("srcdoc");
    URL.revokeObjectURL(address);
  };
}

// ---- Model and audit trail

async function openModel() {
  const model = await data("api/models/metadata");
  const { input } = model;
  const chips = (labels) => make("ul", { className: "chips" }, ...labels.map((label) => make("li", {}, label)));
  const rows = [
    ["Name", `${model.name} ${model.version}`],
    ["Description", model.description],
    ...Object.entries(model.attributes).map(([name, labels]) => [spaced(name), chips(labels)]),
    ...Object.entries(model.accuracy ?? {}).map(([name, value]) => [`Accuracy: ${spaced(name)}`, figure(value)]),
    ["Input", `${input.width} × ${input.height} ${input.colour}, ${input.dtype}, ${input.layout}, ${spaced(input.fit)}`],
    ["Runtime", `${model.runtime}, ${plural(model.workers, "worker")} with ${plural(model.threads, "thread")} each`],
    ["Licence", model.licence],
    ["SHA-256", make("code", {}, model.sha256)],
  ];
  $("model-facts").replaceChildren(...rows.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
}

/** A figure of the model card: fractions read better as percentages. */
function figure(value) {
  if (typeof value !== "number") return typeof value === "string" ? value : JSON.stringify(value);
  return value > 0 && value < 1 ? percent(value) : value.toLocaleString();
}

/** Adds the page of events after `cursor`; without one, starts again from the newest. */
function openAudit(cursor) {
  const query = new URLSearchParams({ limit: AUDIT_PAGE });
  if (cursor) query.set("cursor", cursor);
  if ($("audit-outcome").value) query.set("outcome", $("audit-outcome").value);
  return attempt($("audit-message"), async () => {
    const page = await data(`api/audit?${query}`);
    if (!cursor) $("audit-rows").replaceChildren();
    $("audit-rows").append(...page.events.map(auditRow));
    $("audit-older").hidden = !page.next_cursor;
    $("audit-older").onclick = () => openAudit(page.next_cursor);
    if (!$("audit-rows").children.length) say("audit-message", "There are no such events.");
  });
}

function auditRow(event) {
  const at = new Date(event.created_at);
  const when = make("time", { dateTime: event.created_at, title: event.created_at }, at.toLocaleDateString(), make("b", {}, at.toLocaleTimeString()));
  const who = [event.user ?? "nobody", event.ip_address].filter(Boolean).join(", ");
  const details = event.details && Object.keys(event.details).length ? [make("code", {}, JSON.stringify(event.details))] : [];
  const cells = [
    [when, ...(event.clock_synced ? [] : [make("small", {}, "clock not in sync")])],
    [make("strong", {}, event.action), make("span", {}, who), make("span", { className: "file" }, event.resource), ...details],
    [make("span", { className: "level", "data-level": event.outcome }, event.outcome)],
  ];
  return make("tr", { role: "row" }, ...cells.map((content) => make("td", { role: "cell" }, ...content)));
}

// ---- Wiring

onSubmit($("login-form"), logIn);
onSubmit($("change-form"), changePassword);
onSubmit($("report-form"), makeReport);
onSubmit($("find-form"), findReport);
$("log-out").addEventListener("click", logOut);
$("clear").addEventListener("click", clearResults);
$("report-close").addEventListener("click", () => $("report-dialog").close());
$("audit-outcome").addEventListener("change", () => openAudit());
addEventListener("hashchange", showSection);

$("new-password").addEventListener("input", ({ target }) => {
  // Counted as the unit counts: characters after composition, not UTF-16 units.
  const length = [...target.value.normalize("NFC")].length;
  say("length", `${plural(length, "character")}${length < PASSWORD_LENGTH_MIN ? `, ${PASSWORD_LENGTH_MIN - length} to go` : " ✓"}`);
});

for (const box of document.querySelectorAll("[data-shows]")) {
  box.addEventListener("change", () => {
    for (const id of box.dataset.shows.split(" ")) $(id).type = box.checked ? "text" : "password";
  });
}

for (const input of [$("choose"), $("shoot")]) {
  input.addEventListener("change", () => {
    take(input.files);
    // So that the same picture can be chosen again.
    input.value = "";
  });
}

// A picture dropped beside the field must not replace this page, and the session with it.
for (const name of ["dragover", "drop"]) {
  addEventListener(name, (event) => {
    event.preventDefault();
    const inside = session && event.target.closest?.("#drop");
    $("drop").classList.toggle("over", Boolean(inside) && name === "dragover");
    if (inside && name === "drop") take(event.dataTransfer.files);
  });
}

say("unit", location.host);
showStage("login");
watchHealth();
