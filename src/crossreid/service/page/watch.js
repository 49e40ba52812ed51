// The page of a watch, who was where: the order of events. What is shown, and how, is in the other modules.

import { choose } from "./choose.js";
import { fieldSeconds, fieldText, isFilm, moment } from "./clock.js";
import { announce, by, command, element, fault } from "./dom.js";
import { nameOf } from "./people.js";
import { order, showPerson } from "./person.js";
import { release } from "./pictures.js";
import * as service from "./service.js";
import { may, refuseWithout, showAbout, startPage } from "./start.js";
import { focusBar, markSelected, showTimeline } from "./timeline.js";
import { pause } from "./waiting.js";
import * as watch from "./watch_service.js";
import { counted, zone } from "./words.js";

const POLL = 3; // seconds between two polls for events
const LONGEST_POLL = 30; // while the service fails
const GROWING = 5; // polls after which a following view is redrawn although nothing happened: bars of those still there grow
const DAY = 86_400;
const PATIENCE = 60; // polls, a second apart, until a correction passed to the watching process is given up

let about = null; // what the service reports about itself and the key
let everyone = { identities: [], first: null, last: null };
let view = null; // { from, to } seconds
let follow = false;
let shown = null; // the timeline as returned by the service
let latest = 0; // number of the last known event
let chosen = null; // identity whose tracks are shown
let chosenFrom = null; // number of the presence it was chosen from
let loading = null; // AbortController
let opening = null;
let polling = 0;

const film = () => everyone.first !== null && isFilm(everyone.first);

// --- the service ---------------------------------------------------------------------------------------------------

async function begin() {
  about = await service.about();
  by("to-search").hidden = !may(about, "search");
  if (!about.watch) throw new service.Refusal("This service shows no watch; its operator starts it with --watch WATCH to show one.", 404);
  refuseWithout(about, "watch");
  everyone = await watch.identities();
  showSeen();
  if (view === null) showAll();
  await load();
  poll();
}

function showSeen() {
  const { identities } = everyone;
  const known = identities.filter(({ name }) => name !== null).length;
  showAbout(about, [
    ["Identities", identities.length.toLocaleString("en"), `${known.toLocaleString("en")} of the gallery`],
    ["Last seen", everyone.last === null ? "nobody yet" : moment(everyone.last), ""],
  ]);
}

// --- the view ------------------------------------------------------------------------------------------------------

function showAll() {
  const now = Date.now() / 1000;
  const last = everyone.last ?? now;
  const first = everyone.first ?? last - 3600;
  const margin = Math.max(2, 0.02 * (last - first));
  setView(first - margin, last + margin);
}

function setView(from, to) {
  const span = Math.max(4, to - from);
  view = { from: (from + to - span) / 2, to: (from + to + span) / 2 };
  for (const [id, seconds] of [["since", view.from], ["until", view.to]]) {
    by(id).type = film() ? "text" : "datetime-local";
    by(id).value = fieldText(film() ? Math.max(0, seconds) : seconds, film());
  }
  by("zone").textContent = film() ? "Times count from the start of the video." : `Times are in this computer's zone, ${zone()}.`;
}

const cameras = () => {
  const boxes = [...by("cameras").querySelectorAll("input")];
  const ticked = boxes.filter(({ checked }) => checked).map(({ value }) => value);
  return ticked.length === boxes.length ? null : ticked;
};

function showCameras(names) {
  const known = [...by("cameras").querySelectorAll("input")].map(({ value }) => value);
  if (JSON.stringify(known) === JSON.stringify(names)) return;
  const off = new Set([...by("cameras").querySelectorAll("input:not(:checked)")].map(({ value }) => value));
  by("cameras").replaceChildren(by("cameras").querySelector("legend"), ...names.map((name) => element("label", { class: "tick" },
    element("input", { type: "checkbox", value: name, checked: !off.has(name) }), element("span", { class: "data" }, name))));
}

// Fetch and draw the current view.
async function load() {
  loading?.abort();
  const control = (loading = new AbortController());
  by("timeline").setAttribute("aria-busy", "true");
  try {
    const asked = cameras();
    const found = asked !== null && asked.length === 0 ? { ...shown, presences: [], more: false } : await watch.timeline(view.from, view.to, asked, control.signal);
    if (loading !== control) return;
    fault("view-fault", null);
    shown = found;
    latest = Math.max(latest, found.latest);
    showCameras(found.cameras.map(({ name }) => name));
    draw();
  } catch (error) {
    if (loading === control) fault("view-fault", error);
  } finally {
    if (loading === control) by("timeline").setAttribute("aria-busy", "false");
  }
}

function draw() {
  if (shown === null) return;
  const ticked = cameras();
  const rows = shown.cameras.filter(({ name }) => ticked === null || ticked.includes(name));
  const count = new Set(shown.presences.map(({ identity }) => identity)).size;
  const said = shown.presences.length === 0 ? "Nobody was seen in this time span." : `${counted(count, "identity", "identities")}, ${counted(shown.presences.length, "presence")}.`;
  by("timeline-of").textContent = `${moment(view.from)} \u2013 ${moment(view.to)}. ${said}${shown.more ? " Not all are shown: zoom in." : ""}`;
  showTimeline(by("lanes"), by("axis"), { cameras: rows, presences: shown.presences, view, selected: chosen }, pick);
}

function changeView(from, to, keep = false) {
  if (view === null) return;
  if (!keep) setFollow(false);
  setView(from, to);
  load();
}

const shift = (part) => changeView(view.from + part * (view.to - view.from), view.to + part * (view.to - view.from));
const zoom = (factor) => {
  const half = (factor * (view.to - view.from)) / 2;
  const centre = (view.from + view.to) / 2;
  changeView(centre - half, centre + half);
};

function setFollow(on) {
  follow = on;
  by("follow").setAttribute("aria-pressed", String(on));
}

// The latest time at the right edge, over the current span, but no more than a day.
function toLatest() {
  if (everyone.last === null || view === null) return;
  const span = Math.min(DAY, view.to - view.from);
  changeView(everyone.last + 0.03 * span - span, everyone.last + 0.03 * span, true);
}

function submit(event) {
  event.preventDefault();
  try {
    const [from, to] = ["since", "until"].map((id) => fieldSeconds(by(id).value, film()));
    const [earliest, last] = [from ?? everyone.first ?? 0, to ?? everyone.last ?? 0];
    if (!(earliest < last)) throw new Error("From must be before until.");
    changeView(earliest, last);
  } catch (error) {
    fault("view-fault", error);
  }
}

// --- what comes ----------------------------------------------------------------------------------------------------

// Poll for events while the page is visible; a later call takes over.
async function poll() {
  const mine = (polling += 1);
  let wait = POLL;
  for (let round = 1; ; round += 1) {
    await pause(wait);
    if (mine !== polling) return;
    if (document.hidden) continue;
    try {
      const { events, latest: now } = await watch.eventsAfter(latest);
      if (mine !== polling) return;
      wait = POLL;
      fault("about-fault", null);
      latest = Math.max(latest, now);
      if (events.length > 0) await news(events);
      else if (follow && round % GROWING === 0) await refresh();
    } catch (error) {
      if (error.status === 401 || error.status === 403) return fault("about-fault", error);
      wait = Math.min(LONGEST_POLL, 2 * wait);
      fault("about-fault", error);
    }
  }
}

async function news(events) {
  announce(`${counted(events.length, "event")}.`);
  await refresh();
  const mine = chosen !== null && events.some(({ identity, other }) => identity === chosen || other === chosen);
  if (mine) await open(chosen, false);
}

async function refresh() {
  everyone = await watch.identities();
  if (follow) toLatest();
  else await load();
}

// --- one identity --------------------------------------------------------------------------------------------------

function pick({ identity, number }) {
  chosenFrom = number;
  open(identity, true);
}

async function open(identity, withFocus) {
  opening?.abort();
  const control = (opening = new AbortController());
  chosen = identity;
  markSelected(by("lanes"), chosen);
  fault("person-fault", null);
  try {
    const found = await watch.identity(identity, control.signal);
    if (opening !== control) return;
    chosen = found.identity;
    markSelected(by("lanes"), chosen);
    by("person").hidden = false;
    document.body.classList.add("with-person");
    draw();
    showPerson(found, everyone.identities, {
      go: show,
      merge: may(about, "merge") ? (other) => confirmMerge(found, other) : null,
      split: may(about, "merge") ? (tracks) => confirmSplit(found, tracks) : null,
    });
    if (withFocus) by("person-title").focus();
  } catch (error) {
    if (opening !== control) return;
    if (by("person").hidden) fault("view-fault", error);
    else fault("person-fault", error);
  }
}

// Show a track in the timeline, moving the view to it if needed.
async function show(track) {
  const on = cameras();
  if (on !== null && !on.includes(track.camera)) {
    for (const box of by("cameras").querySelectorAll("input")) box.checked ||= box.value === track.camera;
  }
  if (track.first < view.from || track.last > view.to) {
    const span = Math.max(view.to - view.from, 1.5 * (track.last - track.first));
    const centre = (track.first + track.last) / 2;
    setFollow(false);
    setView(centre - span / 2, centre + span / 2);
  }
  await load();
  const there = shown.presences.find(({ identity, camera, first, last }) => identity === chosen && camera === track.camera && first <= track.first && track.last <= last);
  if (there) focusBar(by("lanes"), there.number);
}

function closePerson() {
  if (by("person").hidden) return;
  opening?.abort();
  opening = chosen = null;
  release(by("person"));
  by("person").hidden = true;
  by("person-note").textContent = "";
  document.body.classList.remove("with-person");
  draw();
  if (!focusBar(by("lanes"), chosenFrom)) by("timeline-title").focus();
}

function confirmMerge(found, other) {
  const [into, gone] = order(found, other);
  choose(`Are ${nameOf(found)} and ${nameOf(other)} the same?`, `All tracks of ${nameOf(gone)} become those of ${nameOf(into)}, including future ones of either. You can split them again.`,
    [["Merge them", () => correct(() => watch.merge(into.identity, gone.identity), into.identity)], ["Cancel"]]);
}

function confirmSplit(found, tracks) {
  choose(`Is this not ${nameOf(found)}?`, `${counted(tracks.length, "track")} will become another identity, and the machine will never match them to ${nameOf(found)} again.`,
    [["Split them off", () => correct(() => watch.split(found.identity, tracks), found.identity)], ["Cancel"]]);
}

async function correct(ask, identity) {
  const note = (text) => { by("person-note").textContent = text; announce(text); };
  fault("person-fault", null);
  note("");
  try {
    let done = await ask();
    for (let left = PATIENCE; done.state === "asked" && left > 0; left -= 1) {
      note("Passed to the watching process, which does it with its next frames.");
      await pause(1);
      done = await watch.request(done.request);
    }
    if (done.state === "refused") throw new Error(done.refused);
    if (done.state === "done") note("Done, and kept as a mark for training.");
    await refresh();
    await open(identity, true);
  } catch (error) {
    note("");
    fault("person-fault", error);
  }
}

// --- wiring --------------------------------------------------------------------------------------------------------

function listen() {
  by("view").onsubmit = submit;
  by("cameras").onchange = load;
  by("earlier").onclick = () => shift(-0.5);
  by("later").onclick = () => shift(0.5);
  by("closer").onclick = () => zoom(0.5);
  by("wider").onclick = () => zoom(2);
  by("all").onclick = () => { showAll(); changeView(view.from, view.to); };
  by("follow").onclick = () => { setFollow(!follow); if (follow) toLatest(); };
  by("person-close").onclick = closePerson;
  by("forget-key").onclick = () => { service.forgetKey(); location.reload(); };
  by("show-keys").onclick = () => by("keys").showModal();
  by("keys-close").onclick = () => by("keys").close();
  const act = { ",": () => shift(-0.5), ".": () => shift(0.5), "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), f: () => by("follow").click(), "?": () => by("keys").showModal(), Escape: closePerson };
  document.addEventListener("keydown", (event) => {
    const key = document.querySelector("dialog[open]") === null ? command(event) : null;
    if (key !== null && key in act && view !== null) act[key]();
  });
  let drawn = 0;
  new ResizeObserver(([{ contentRect: { width } }]) => {
    if (Math.abs(width - drawn) > 1) { drawn = width; draw(); }
  }).observe(by("axis"));
}

listen();
startPage({ begin, focus: "lanes", final: [404] });
