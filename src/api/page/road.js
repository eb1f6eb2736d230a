// The section "Road": the camera's picture with what is tracked in it, today's counts, and the last vehicles. It asks while it
// is seen, and no longer; each part says by itself what keeps it from showing something.

import { $, make, percent, plural, say, spaced, wordsFor } from "./unit.js";

const PICTURE_INTERVAL_MS = 500;
const PICTURE_RETRY_MS = 3_000;
const LEDGER_INTERVAL_MS = 5_000;
const PASSAGES = 12;
const PICTURE_OLD_MS = 3_000;

const REASONS = {
  off: "no camera is configured, or the replay has ended",
  camera_down: "the camera gave no frames",
  frozen: "the picture stood still",
  obscured: "the lens was covered, or the picture black or overexposed",
  overload: "the unit could not keep up",
  restart: "the unit was starting, stopping or without power",
  clock: "the clock was set",
  before_first_start: "the unit was not in service yet",
  future: "still to come",
};

/** Counts up each time the section is opened: what belongs to an earlier time stops. */
let visit = 0;

/** `ask(path)` answers with the unit's response, or throws in words. `isOpen()`: the section is still seen. */
export function openRoad(ask, isOpen) {
  visit += 1;
  const mine = visit;
  const goesOn = () => mine === visit && isOpen();
  repeat(goesOn, () => showPicture(ask), "road-picture-message", PICTURE_INTERVAL_MS, PICTURE_RETRY_MS);
  repeat(goesOn, () => showLedger(ask), "road-message", LEDGER_INTERVAL_MS, LEDGER_INTERVAL_MS);
}

async function repeat(goesOn, work, message, pause, pauseAfterFault) {
  while (goesOn()) {
    let wait = pause;
    try {
      // A page in the background asks for nothing.
      if (!document.hidden) await work();
      say(message, "");
    } catch (error) {
      if (error.ended) return;
      say(message, wordsFor(error));
      wait = Math.max(pauseAfterFault, (error.waitSeconds ?? 0) * 1_000);
    }
    await new Promise((done) => setTimeout(done, wait));
  }
}

async function showPicture(ask) {
  const canvas = $("road-picture");
  try {
    const answer = await ask("api/camera/snapshot?overlay=true");
    const age = Number(answer.headers.get("X-Frame-Age-Ms"));
    const bitmap = await createImageBitmap(await answer.blob());
    Object.assign(canvas, { width: bitmap.width, height: bitmap.height }).getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
    canvas.classList.toggle("stale", age > PICTURE_OLD_MS);
    canvas.classList.remove("blank");
    say("road-age", age > PICTURE_OLD_MS ? `This picture is ${(age / 1_000).toFixed(0)} s old` : "Live; boxes: yellow is followed, blue is counted");
  } catch (error) {
    canvas.classList.add("stale");
    say("road-age", "");
    throw error;
  }
}

async function showLedger(ask) {
  const counts = (await (await ask("api/traffic/counts?interval=1d")).json()).data;
  showCounts(counts.intervals.at(-1));
  const page = (await (await ask(`api/traffic/passages?limit=${PASSAGES}`)).json()).data;
  $("road-passages").replaceChildren(...page.passages.map(passageRow));
  $("road-none").hidden = page.passages.length > 0;
}

function showCounts(day) {
  const watched = day.coverage_ratio ?? 0;
  say("road-total", day.total === null ? "Nobody was watching today" : plural(day.total, "vehicle"));
  say("road-coverage", `Watched ${percent(watched)} of today so far`);
  const meterLevel = watched >= 0.99 ? "good" : watched >= 0.9 ? "warn" : "bad";
  $("road-coverage").dataset.level = meterLevel;
  const gaps = Object.entries(day.reasons).filter(([reason]) => reason !== "future");
  $("road-gaps").replaceChildren(...gaps.map(([reason, seconds]) => make("li", {}, `${duration(seconds)}: ${REASONS[reason] ?? spaced(reason)}`)));
  const way = ({ line, direction }) => [line, direction ?? "direction unknown"].filter(Boolean).join(" · ");
  const classes = Object.keys(day.counts[0]?.classes ?? {}).filter((name) => day.counts.some(({ classes }) => classes[name]));
  $("road-head").replaceChildren(...["Class", ...day.counts.map(way)].map((text) => make("th", { scope: "col" }, text)));
  const row = (name, cells) => make("tr", {}, make("th", { scope: "row" }, name), ...cells.map((cell) => make("td", {}, String(cell ?? "–"))));
  const rows = classes.map((name) => row(spaced(name), day.counts.map(({ classes }) => classes[name])));
  $("road-counts").replaceChildren(...rows, row("All", day.counts.map(({ total }) => total)));
}

function passageRow(passage) {
  const at = new Date(passage.counted_at);
  const when = make("time", { dateTime: passage.counted_at, title: passage.counted_at }, make("b", {}, at.toLocaleTimeString()));
  const sure = passage.class === "unclassified" ? "" : percent(passage.confidence);
  const where = [passage.line, passage.direction ?? "direction unknown", passage.speed_kmh && `${passage.speed_kmh.toFixed(0)} km/h`];
  return make("tr", {},
    make("td", {}, when, ...(passage.clock_synced ? [] : [make("small", {}, "clock not in sync")])),
    make("td", {}, make("strong", {}, spaced(passage.class)), make("span", {}, where.filter(Boolean).join(" · "))),
    make("td", {}, sure));
}

function duration(seconds) {
  const [hours, minutes] = [Math.floor(seconds / 3_600), Math.floor((seconds / 60) % 60)];
  return hours ? `${hours} h ${minutes} min` : minutes ? `${minutes} min` : `${Math.round(seconds)} s`;
}
