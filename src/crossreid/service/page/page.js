// The page of the search service: the order of events. What is shown, and how, is in the other modules.

import { measureBars } from "./bars.js";
import { choose } from "./choose.js";
import { compare, startCompare } from "./compare.js";
import { announce, by, command, element, fault, keepFocus } from "./dom.js";
import { cameras, describe, filters, limitMatches, resetFilters, startFilters, words } from "./filters.js";
import { clearMarks, countMarks, markOf, marksCsv, noteExport, refresh, setMark, unexported } from "./marks.js";
import { addFiles, clearQuery, hasQuery, oneModality, query, setQuery, startQuery } from "./query.js";
import { focusMatch, showMark, showMatches, showSamples } from "./results.js";
import * as service from "./service.js";
import { may, refuseWithout, showAbout, startPage } from "./start.js";
import { counted, score } from "./words.js";

const SAMPLES = 12;
let mapKinds = []; // the service's kinds of maps
let attention = null; // whether the service has maps; null: not known yet, so they are requested
let shown = null; // { query, matches, model, signature } of the list
let former = []; // queries before this one
let running = null; // AbortController of the search under way
let seed = 0;
let begun = false; // whether the service has described itself

// --- the service ---------------------------------------------------------------------------------------------------

async function begin() {
  const about = await service.about();
  attention = about.attention;
  mapKinds = about.maps;
  by("chances").hidden = about.calibration === null;
  by("no-chances").hidden = about.calibration !== null;
  const prior = about.calibration?.prior ?? null;
  by("prior").textContent = prior === null ? "an unknown share" : String(Number(prior.toPrecision(2)));
  by("to-watch").hidden = !(about.watch && may(about, "watch"));
  begun = true;
  startQuery({ limits: about.limits });
  limitMatches(about.limits.k);
  showService(about, null);
  refuseWithout(about, "search");
  const stats = await service.stats();
  showService(about, stats);
  cameras(stats.cameras);
  const kinds = Object.keys(stats.modalities ?? {});
  oneModality(kinds.length === 1 ? kinds[0] : null);
  by("filter-modality").hidden = kinds.length === 1;
}

function showService(about, stats) {
  const { model } = about;
  showAbout(about, [
    ["Model", model.method, `${model.fingerprint.slice(0, 12)}, ${model.height} \u00d7 ${model.width} pixels`,
      `Fingerprint ${model.fingerprint}. Images are resized to ${model.height} pixels in height and ${model.width} in width.`],
    ...(model.trained === null ? [] : [["Training", model.trained, ""]]),
    ["Entries", stats === null ? "\u2026" : stats.entries.toLocaleString("en"),
      about.retention_days === null ? "kept until deleted" : `kept ${counted(about.retention_days, "day")}`],
  ]);
}

async function drawSamples() {
  fault("start-fault", null);
  const drawn = seed;
  try {
    const entries = await service.sample(SAMPLES, drawn);
    if (drawn !== seed) return; // others were requested meanwhile
    keepFocus(() => showSamples(entries, searchWith), "others", "found");
    if (entries.length === 0) throw new Error("The gallery is empty: enrol entries first.");
  } catch (error) {
    if (drawn === seed) fault("start-fault", error);
  }
}

// --- searching -----------------------------------------------------------------------------------------------------

const signature = () => {
  try {
    const { key, modality } = query();
    return JSON.stringify([key, modality, filters()]);
  } catch {
    return null;
  }
};

function changed() {
  describe();
  by("former-query").hidden = former.length === 0;
  by("start").hidden = hasQuery() || shown !== null;
  by("waiting").hidden = !hasQuery() || shown !== null;
  by("waiting").textContent = running === null ? "The matches will be listed here." : "Searching \u2026";
  by("searching").hidden = running === null;
  by("stale").hidden = shown === null || running !== null || signature() === shown.signature;
}

// Whether the search returned a list of matches.
async function search() {
  fault("ask-fault", null);
  fault("query-fault", null);
  let asked;
  let wanted;
  try {
    asked = query();
  } catch (error) {
    fault("query-fault", error);
    return false;
  }
  try {
    wanted = filters();
  } catch (error) {
    fault("ask-fault", error);
    return false;
  }
  running?.abort();
  const control = (running = new AbortController());
  busy(true);
  let found;
  try {
    found = await service.search(asked, wanted.k, wanted.filter, control.signal);
  } catch (error) {
    if (running !== control) return false; // a newer search has taken its place, or it was cancelled
    running = null;
    keepFocus(() => busy(false), "search");
    fault("ask-fault", error);
    return false;
  }
  if (running !== control) return false;
  running = null;
  const { model, matches, known, threshold, warning, query: { sha256 } } = found;
  shown = { query: { ...asked, sha256 }, matches, model, unknown: known === false ? threshold.words : null, warning, signature: JSON.stringify([asked.key, asked.modality, wanted]) };
  keepFocus(() => {
    busy(false);
    showResults(wanted.filter);
  }, "results-title");
  if (!begun) start();
  return true;
}

function busy(on) {
  by("cancel").hidden = !on;
  by("results").setAttribute("aria-busy", String(on));
  document.body.classList.toggle("busy", on);
  if (on) announce("Searching.");
  changed();
}

function cancel() {
  if (running === null) return;
  running.abort();
  running = null;
  keepFocus(() => busy(false), "search");
  announce("The search was cancelled.");
}

// Search with an entry of the gallery; the previous query can be restored.
async function searchWith(entry) {
  try {
    const before = hasQuery() ? query() : null;
    const same = before?.entry?.id === entry.id;
    if (same && running !== null) return;
    if (before !== null && !same) former.push(before);
  } catch { /* incomplete: nothing to restore */ }
  await searchFor({ images: [], entry });
}

async function searchFor(asking) {
  let under;
  keepFocus(() => {
    setQuery(asking);
    under = search();
  }, "results-title", "found");
  if ((await under) && document.activeElement === by("found")) by("results-title").focus();
}

// Actions on the matches of a result, also while another search is running or has finished meanwhile.
const manner = (result) => ({
  markOf: (place) => markOf(result.query, result.matches[place].entry),
  mark(place, mark) { // returns what went wrong, or null
    let trouble = null;
    try {
      setMark(result.query, result.matches[place], result.model, mark);
    } catch (error) {
      trouble = error;
    }
    fault("marks-fault", trouble);
    if (result === shown) showMark(by("matches"), place, mark);
    drawMarks();
    announce(`Match ${result.matches[place].rank}: ${mark ?? "no mark"}.`);
    return trouble;
  },
  compare(place) {
    compare(result.query, result.matches, place, attention, mapKinds, this);
  },
  leave(place) {
    if (result === shown) focusMatch(by("matches"), place);
    else by("results-title").focus();
  },
  search: searchWith,
});

function showResults(filter) {
  const { query: asked, matches, model } = shown;
  try {
    refresh(asked, matches, model);
  } catch (error) {
    fault("marks-fault", error);
  }
  const said = [asked.entry !== null ? `entry ${asked.entry.id}` : asked.images.length > 1 ? `a tracklet of ${asked.images.length} images` : asked.names[0], asked.modality];
  const set = words(filter).join("; ");
  const none = set ? " No entry matches the filters: widen or reset them." : ` The gallery holds no ${asked.entry === null ? "" : "other "}entry.`;
  by("results").hidden = false;
  by("results-of").textContent = `${counted(matches.length, "match", "matches")} for ${said.join(", ")}; ${set || "whole gallery"}.${matches.length ? "" : none}`;
  by("unknown").hidden = shown.unknown === null || matches.length === 0;
  by("unknown").textContent = `Unknown: none of these reaches ${shown.unknown}. The gallery may not hold who or what you are looking for.`;
  by("warning").hidden = shown.warning === null;
  by("warning").textContent = `Warning: ${shown.warning}`;
  showMatches(by("matches"), matches, manner(shown));
  drawMarks();
  const heading = by("results-title");
  if (heading.getBoundingClientRect().top > innerHeight) heading.scrollIntoView(); // on a narrow screen it is below the form
  const spoken = matches.length ? `${counted(matches.length, "match", "matches")}, best score ${score(matches[0].score, 2)}` : "No matches.";
  announce(by("unknown").hidden ? spoken : `Unknown. ${spoken}`);
}

// --- marks ---------------------------------------------------------------------------------------------------------

function drawMarks() {
  const { right, wrong } = countMarks();
  by("marks").hidden = shown === null && right + wrong === 0;
  const here = shown === null ? 0 : shown.matches.filter(({ entry }) => markOf(shown.query, entry) !== null).length;
  by("marks-count").textContent = right + wrong === 0 ? "none yet: mark matches as right or wrong, then export the marks for training"
    : `${right} right, ${wrong} wrong in this tab${shown === null ? "" : `; ${here} of ${shown.matches.length} here`}`;
  by("export").hidden = by("clear-marks").hidden = right + wrong === 0;
}

function exportMarks() {
  const url = URL.createObjectURL(new Blob([marksCsv()], { type: "text/csv;charset=utf-8" }));
  element("a", { href: url, download: `marks-${new Date().toISOString().slice(0, 19).replaceAll(":", "")}.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
  noteExport();
  announce("Marks exported.");
}

function marksInTab() {
  const { right, wrong } = countMarks();
  return right + wrong;
}

function confirmClear() {
  choose("Clear all marks?", `${counted(marksInTab(), "mark")} in this tab will be lost. Export them first to keep them.`,
    [["Clear them", clearAll], ["Keep them"]]);
}

function forgetKey() {
  const forget = () => {
    onbeforeunload = null; // the user asked for it, and what must be kept is kept in the tab
    service.forgetKey();
    location.reload();
  };
  if (marksInTab() === 0) return forget();
  const text = `${counted(marksInTab(), "mark")} would remain for whoever uses this tab next.${unexported() ? " Export them first to keep them." : ""}`;
  choose("Forget the key and clear the marks?", text, [["Clear them", () => { clearMarks(); forget(); }], ["Keep them", forget], ["Cancel"]], true);
}

function clearAll() {
  clearMarks();
  fault("marks-fault", null);
  if (shown !== null) shown.matches.forEach((_, place) => showMark(by("matches"), place, null));
  drawMarks();
  announce("All marks are cleared.");
  by("found").focus();
}

// --- wiring --------------------------------------------------------------------------------------------------------

function listen() {
  by("ask").onsubmit = (event) => { event.preventDefault(); search(); };
  by("ask").oninput = changed;
  by("ask").onkeyup = changed; // an incomplete time is no input event yet
  by("files").onchange = ({ target }) => { addFiles([...target.files]); target.value = ""; };
  by("clear-query").onclick = () => { clearQuery(); by("files").focus(); };
  by("former-query").onclick = () => searchFor(former.pop());
  by("reset").onclick = () => { resetFilters(); changed(); document.querySelector(by("filter-modality").hidden ? "#cameras input, #since" : "input[name=filter_modality]").focus(); };
  by("cancel").onclick = cancel;
  by("others").onclick = () => { seed += 1; drawSamples(); };
  by("export").onclick = exportMarks;
  by("clear-marks").onclick = confirmClear;
  by("forget-key").onclick = forgetKey;
  by("show-keys").onclick = () => by("keys").showModal();
  by("keys-close").onclick = () => by("keys").close();
  const open = () => document.querySelector("dialog[open]") !== null;
  document.addEventListener("keydown", (event) => {
    if (command(event) === "?" && !by("keys").open && !by("unlock").open) by("keys").showModal();
    else if (event.key === "Escape" && !open()) cancel();
  });
  document.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (files.length && !open()) addFiles(files, true);
  });
  takeDrops(open);
  onbeforeunload = (event) => { if (unexported()) event.preventDefault(); };
}

// Files dragged onto the page; other drops are left to the browser. Beside an open dialog nothing takes them, but the browser
// must not leave the page for them either.
function takeDrops(open) {
  let inside = 0; // enter and leave are fired for every element that is passed
  const files = (event) => event.dataTransfer.types.includes("Files");
  const over = (step) => (event) => {
    if (!files(event)) return;
    event.preventDefault();
    if (open()) event.dataTransfer.dropEffect = "none";
    inside = Math.max(0, inside + step);
    by("drop").classList.toggle("over", inside > 0 && !open());
  };
  document.addEventListener("dragenter", over(1));
  document.addEventListener("dragleave", over(-1));
  document.addEventListener("dragover", over(0));
  document.addEventListener("drop", (event) => {
    over(-inside)(event);
    if (files(event) && !open()) addFiles([...event.dataTransfer.files]);
  });
}

startQuery({
  onchange() {
    fault("ask-fault", null); // it is about a query that is gone
    changed();
  },
});
startFilters();
startCompare();
listen();
measureBars("go", "marks", "steps");
drawMarks();
changed();
const start = startPage({ begin, after: drawSamples, focus: "files" });
