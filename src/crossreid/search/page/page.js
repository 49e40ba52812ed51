// The page of the search service: what happens in which order. What is shown, and how, is in the modules beside it.

import { compare, startCompare } from "./compare.js";
import { announce, by, command, element, fault } from "./dom.js";
import { cameras, describe, filters, limitMatches, resetFilters, startFilters, words } from "./filters.js";
import { clearMarks, countMarks, markOf, marksCsv, refresh, setMark } from "./marks.js";
import { addFiles, clearQuery, hasQuery, query, setQuery, startQuery } from "./query.js";
import { focusMatch, showMark, showMatches, showSamples } from "./results.js";
import * as service from "./service.js";
import { counted, score } from "./words.js";

const SAMPLES = 12;
let attention = false; // whether the service has maps
let shown = null; // { query, matches, model, signature } of the list
let former = []; // queries before this one
let running = null; // AbortController of the search under way
let seed = 0;
let begun = false; // whether the service has told about itself

// --- the service ---------------------------------------------------------------------------------------------------

async function start() {
  fault("about-fault", null);
  by("again").hidden = by("enter-key").hidden = true;
  try {
    const about = await service.about();
    attention = about.attention;
    begun = true;
    startQuery({ limits: about.limits });
    limitMatches(about.limits.k);
    showAbout(about, null);
    if (!about.roles.some((role) => role === "search" || role === "admin")) {
      throw new service.Refusal(`The key "${about.name}" may not search, only ${about.roles.join(", ") || "nothing"}. Forget it, and enter another.`, 403);
    }
    const stats = await service.stats();
    showAbout(about, stats);
    cameras(stats.cameras);
  } catch (error) {
    fault("about-fault", error);
    by("enter-key").hidden = error.status !== 401;
    by("again").hidden = error.status === 401 || error.status === 403;
    return;
  } finally {
    by("forget-key").hidden = !service.hasKey();
  }
  await drawSamples();
}

function showAbout(about, stats) {
  const { model } = about;
  const told = [
    ["Key", about.name === "insecure" ? "none needed" : about.name, about.roles.join(", ")],
    ["Model", model.method, model.fingerprint.slice(0, 12), model.fingerprint],
    ["Entries", stats === null ? "\u2026" : stats.entries.toLocaleString("en"),
      about.retention_days === null ? "kept until deleted" : `kept ${counted(about.retention_days, "day")}`],
  ];
  by("about").replaceChildren(...told.map(([name, value, more, title]) => element("div", {},
    element("dt", {}, name),
    element("dd", { class: "data", title }, value, more ? element("small", {}, ` ${more}`) : null))));
}

async function drawSamples() {
  fault("start-fault", null);
  try {
    const entries = await service.sample(SAMPLES, seed);
    showSamples(entries, searchWith);
    if (entries.length === 0) throw new Error("The gallery is empty: enrol entries first.");
  } catch (error) {
    fault("start-fault", error);
  }
}

function askForKey(message) {
  const dialog = by("unlock");
  by("unlock-fault").textContent = message;
  by("key").value = "";
  let given = null;
  return new Promise((done) => {
    by("unlock-form").onsubmit = (event) => {
      event.preventDefault();
      const key = by("key").value.trim();
      if (!/^[\x21-\x7e]+$/.test(key)) {
        by("unlock-fault").textContent = "A key is a word of plain letters, digits and signs.";
        return;
      }
      given = key;
      dialog.close();
    };
    by("unlock-cancel").onclick = () => dialog.close();
    dialog.addEventListener("close", () => {
      by("key").value = "";
      done(given);
      if (given !== null && begun) setTimeout(start); // with the key's name and roles
    }, { once: true });
    dialog.showModal();
  });
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
  by("stale").hidden = shown === null || running !== null || signature() === shown.signature;
}

async function search() {
  fault("ask-fault", null);
  fault("query-fault", null);
  let asked;
  let wanted;
  try {
    asked = query();
  } catch (error) {
    return fault("query-fault", error);
  }
  try {
    wanted = filters();
  } catch (error) {
    return fault("ask-fault", error);
  }
  running?.abort();
  const control = (running = new AbortController());
  busy(true);
  try {
    const { model, matches } = await service.search(asked, wanted.k, wanted.filter, control.signal);
    if (running !== control) return; // a newer search has taken its place
    shown = { query: asked, matches, model, signature: JSON.stringify([asked.key, asked.modality, wanted]) };
    showResults(wanted.filter);
  } catch (error) {
    if (running === control) fault("ask-fault", error);
  } finally {
    if (running === control) {
      running = null;
      busy(false);
    }
  }
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
  busy(false);
  announce("The search was cancelled.");
}

// An entry of the gallery asks; the query before it can be gone back to.
async function searchWith(entry) {
  try {
    if (hasQuery()) former.push(query());
  } catch { /* not complete: nothing to go back to */ }
  setQuery({ images: [], entry });
  await search();
  if (document.activeElement === document.body) by("results-title").focus(); // what had the focus is gone
}

function goBack() {
  setQuery(former.pop());
  search();
}

// What can be done with the matches of a result, also while another search is under way or has come in between.
const manner = (result) => ({
  markOf: (place) => markOf(result.query, result.matches[place].entry),
  mark(place, mark) {
    fault("marks-fault", null);
    try {
      setMark(result.query, result.matches[place], result.model, mark);
    } catch (error) {
      fault("marks-fault", error);
    }
    if (result === shown) showMark(by("matches"), place, mark);
    drawMarks();
    announce(`Match ${result.matches[place].rank}: ${mark ?? "no mark"}.`);
  },
  compare(place) {
    compare(result.query, result.matches, place, attention, this);
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
  by("results").hidden = false;
  by("results-of").textContent = `${counted(matches.length, "match", "matches")} for ${said.join(", ")}; ${words(filter).join("; ") || "whole gallery"}.${
    matches.length ? "" : " Nothing meets the filters: widen or reset them."}`;
  showMatches(by("matches"), matches, manner(shown));
  drawMarks();
  const heading = by("results-title");
  if (heading.getBoundingClientRect().top > innerHeight) heading.scrollIntoView(); // on a narrow screen it is below the form
  announce(matches.length ? `${counted(matches.length, "match", "matches")}, best score ${score(matches[0].score, 2)}` : "No matches.");
}

// --- marks ---------------------------------------------------------------------------------------------------------

function drawMarks() {
  const { right, wrong } = countMarks();
  by("marks").hidden = shown === null && right + wrong === 0;
  by("marks-count").textContent = right + wrong === 0 ? "none yet: mark matches as right or wrong, and export the marks for training" : `${right} right, ${wrong} wrong in this tab`;
  by("export").hidden = by("clear-marks").hidden = right + wrong === 0;
}

function exportMarks() {
  const url = URL.createObjectURL(new Blob([marksCsv()], { type: "text/csv;charset=utf-8" }));
  element("a", { href: url, download: `marks-${new Date().toISOString().slice(0, 19).replaceAll(":", "")}.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
  announce("Marks exported.");
}

function confirmClear() {
  const { right, wrong } = countMarks();
  by("confirm-text").textContent = `${counted(right + wrong, "mark")} of this tab will be gone. Export them first to keep them.`;
  by("confirm").showModal();
  by("confirm-no").focus();
}

function clearAll() {
  clearMarks();
  fault("marks-fault", null);
  by("confirm").close();
  if (shown !== null) shown.matches.forEach((_, place) => showMark(by("matches"), place, null));
  drawMarks();
  announce("All marks are cleared.");
  by("found").focus();
}

// --- wiring --------------------------------------------------------------------------------------------------------

function listen() {
  by("ask").onsubmit = (event) => { event.preventDefault(); search(); };
  by("ask").oninput = changed;
  by("ask").onkeyup = changed; // half a time is no input yet
  by("files").onchange = ({ target }) => { addFiles([...target.files]); target.value = ""; };
  by("clear-query").onclick = () => { clearQuery(); by("files").focus(); };
  by("former-query").onclick = goBack;
  by("reset").onclick = () => { resetFilters(); changed(); document.querySelector("input[name=filter_modality]").focus(); };
  by("cancel").onclick = cancel;
  by("others").onclick = () => { seed += 1; drawSamples(); };
  by("export").onclick = exportMarks;
  by("clear-marks").onclick = confirmClear;
  by("confirm-yes").onclick = clearAll;
  by("confirm-no").onclick = () => by("confirm").close();
  by("again").onclick = by("enter-key").onclick = start;
  by("forget-key").onclick = () => { service.forgetKey(); location.reload(); };
  by("show-keys").onclick = () => by("keys").showModal();
  by("keys-close").onclick = () => by("keys").close();
  document.addEventListener("keydown", (event) => {
    const open = document.querySelector("dialog[open]") !== null;
    if (command(event) === "?" && !by("keys").open && !by("unlock").open) by("keys").showModal();
    else if (event.key === "Escape" && !open) cancel();
  });
  document.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (files.length) addFiles(files, true);
  });
  let inside = 0; // enter and leave come for every element that is passed
  const over = (step) => (event) => {
    event.preventDefault();
    inside = Math.max(0, inside + step);
    by("drop").classList.toggle("over", inside > 0);
  };
  document.addEventListener("dragenter", over(1));
  document.addEventListener("dragleave", over(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    over(-inside)(event);
    const files = [...event.dataTransfer.files];
    if (files.length) addFiles(files);
  });
}

service.onLocked(askForKey);
startQuery({ onchange: changed });
startFilters();
startCompare();
listen();
drawMarks();
changed();
start();
