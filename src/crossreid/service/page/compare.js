// A match beside the query, enlarged, overlaid with what the network looked at in each.

import { paint } from "./attention.js";
import { announce, by, command, element, fault } from "./dom.js";
import { keeping } from "./kept.js";
import { entryPicture, filePicture, release } from "./pictures.js";
import { factList, markButtons, markByKey, pressed } from "./results.js";
import { attention as askAttention, events } from "./service.js";
import { pause } from "./waiting.js";
import { chance, entryWords, score } from "./words.js";

const SIZE = 1024;
const REST = 0.2; // seconds on a match before its map is requested, so that paging through requests none
const NOT_HERE = "Attention maps are not available: the service runs an exported model. Serve the run itself to see them.";

let shown = null; // { query, matches, act, attention, place, which }
let asked = null; // AbortController of the maps under way
let unanswered = false; // maps were requested, and the service did not answer
const kept = keeping(50); // maps, by mapKey

const dialog = () => by("compare");
const sides = () => ({ query: by("side-query"), match: by("side-match") });

// `act` as in results.js, with leave(place) when the dialog closes; `attention`: whether the service has maps, null if unknown;
// `kinds`: the kinds of maps it has.
export function compare(query, matches, place, attention, kinds, act) {
  shown = { query, matches, act, attention, place, which: 0 };
  by("maps-label").hidden = kinds.length < 2;
  if (kinds.length < 2) by("maps").value = "grad-cam";
  by("which").replaceChildren(...query.images.map(({ name }, at) => element("option", { value: at }, `${at + 1}: ${name}`)));
  by("which-label").hidden = query.images.length < 2;
  by("encoder-label").hidden = true;
  fault("compare-mark-fault", null);
  dialog().showModal();
  announce("");
  by("compare-title").focus();
  drawQuery();
  draw();
}

export function startCompare() {
  by("compare-close").onclick = () => dialog().close();
  by("previous").onclick = () => go(shown.place - 1);
  by("next").onclick = () => go(shown.place + 1);
  by("compare-search").onclick = () => search();
  by("attention-on").onchange = () => drawAttention();
  by("opacity").oninput = () => fade();
  by("encoder").onchange = () => lay();
  by("maps").onchange = () => drawAttention();
  by("which").onchange = () => {
    shown.which = Number(by("which").value);
    drawQuery();
    drawAttention();
  };
  by("compare-marks").replaceChildren(...markButtons((mark) => setMark(mark === present() ? null : mark)));
  dialog().onkeydown = keys;
  let began = false; // a click that began inside, say on the slider, does not count as outside the dialog
  dialog().onpointerdown = (event) => { began = beside(event); };
  dialog().onclick = (event) => { if (began && beside(event)) dialog().close(); };
  dialog().onclose = () => {
    asked?.abort();
    for (const side of Object.values(sides())) release(side);
    const { act, place } = shown;
    shown = null;
    act.leave(place);
  };
  events.addEventListener("answered", () => { if (shown !== null && unanswered) drawAttention(); });
}

function beside({ target, clientX, clientY }) {
  const { left, right, top, bottom } = dialog().getBoundingClientRect();
  return target === dialog() && (clientX < left || clientX > right || clientY < top || clientY > bottom);
}

const present = () => shown.act.markOf(shown.place);

function setMark(mark) {
  fault("compare-mark-fault", shown.act.mark(shown.place, mark));
  pressed(by("compare-marks"), mark);
}

function search() {
  const { act, matches, place } = shown;
  dialog().close();
  act.search(matches[place].entry);
}

// `first` is announced before the match.
function go(place, first = "") {
  if (place < 0 || place >= shown.matches.length) return;
  shown.place = place;
  draw();
  const mark = present();
  announce(`${first}${by("compare-title").textContent}, ${mark === null ? "not marked" : `marked ${mark}`}`);
}

// Mark, and go to the next unmarked match.
function markAndGo(mark) {
  setMark(mark);
  const { matches, place, act } = shown;
  const said = `Match ${matches[place].rank}: ${mark}. `;
  const next = matches.findIndex((_, at) => at > place && act.markOf(at) === null);
  if (next < 0) announce(`${said}All matches after it are marked.`);
  else go(next, said);
}

function keys(event) {
  const key = command(event);
  if (key === null) return;
  const sliding = event.target.type === "range" && /^(Arrow|Home|End)/.test(key);
  const mark = markByKey(key, present());
  const to = { ArrowLeft: shown.place - 1, ArrowRight: shown.place + 1, Home: 0, End: shown.matches.length - 1 }[key];
  if (sliding) return;
  if (event.shiftKey && key === "r") markAndGo("right");
  else if (event.shiftKey && key === "w") markAndGo("wrong");
  else if (mark !== undefined) setMark(mark);
  else if (to !== undefined) go(to);
  else if (key === "s") search();
  else if (key === "a") by("attention-on").click();
  else return;
  event.preventDefault();
}

// A picture with a canvas over it, both in the picture's own shape.
function stage(side, frame, caption, about) {
  release(side);
  const box = side.querySelector(".stage");
  box.style.removeProperty("--shape");
  box.replaceChildren(frame, element("canvas", { "aria-hidden": "true" }));
  side.querySelector("figcaption").textContent = caption;
  side.querySelector("dl").replaceWith(about);
}

// The picture's shape, and so the canvas's, is known once it has loaded; by then another may be shown.
const sized = (side) => (picture) => {
  if (shown === null || !side.contains(picture)) return;
  side.querySelector(".stage").style.setProperty("--shape", picture.naturalWidth / picture.naturalHeight);
  lay();
};

function drawQuery() {
  const { query, which } = shown;
  const side = sides().query;
  if (query.entry !== null) {
    const frame = entryPicture(query.entry, SIZE, `Query: ${entryWords(query.entry)}`, { now: true, onload: sized(side) });
    stage(side, frame, "Query", factList(query.entry, true));
    return;
  }
  const { file, name } = query.images[which];
  const about = element("dl", { class: "facts" },
    ...[["file", name], ["seen", query.modality]].map(([what, value]) =>
      element("div", {}, element("dt", {}, what), element("dd", { class: "data" }, value))));
  const many = query.images.length > 1 ? ` image ${which + 1} of ${query.images.length}` : "";
  stage(side, filePicture(file, `Query${many}: ${name}`, sized(side)), `Query${many}`, about);
}

function draw() {
  const { matches, place } = shown;
  const { rank, score: value, entry, probability } = matches[place];
  const side = sides().match;
  const frame = entryPicture(entry, SIZE, `Match ${rank}: ${entryWords(entry)}`, { now: true, onload: sized(side) });
  stage(side, frame, `Match ${rank}`, factList(entry, true));
  const likely = probability === null ? "" : `, probability ${chance(probability)}`;
  by("compare-title").textContent = `Match ${rank} of ${matches.length}, score ${score(value)}${likely}`;
  by("previous").disabled = place === 0;
  by("next").disabled = place === matches.length - 1;
  pressed(by("compare-marks"), present());
  drawAttention();
}

const note = (text) => { by("attention-note").textContent = text; };

// What a map depends on.
function mapKey() {
  const { query, matches, place, which } = shown;
  return JSON.stringify([query.images[which]?.print ?? query.key, query.modality, matches[place].entry.id, by("maps").value]);
}

async function drawAttention() {
  asked?.abort();
  const control = (asked = new AbortController());
  unanswered = false;
  fault("compare-fault", null);
  const { query, matches, place, which, attention } = shown;
  const { entry } = matches[place];
  by("attention").hidden = attention === false;
  lay(null);
  const without = attention === false ? NOT_HERE
    : !entry.image ? "This match has no image, so it has no attention map."
    : query.entry !== null && !query.entry.image ? "The query entry has no image, so it has no attention map."
    : null;
  if (without !== null) by("encoder-label").hidden = true;
  if (without !== null || !by("attention-on").checked) return note(without ?? "");
  const key = mapKey();
  let maps = kept.get(key);
  if (maps === undefined) {
    note("Computing attention \u2026");
    try {
      await pause(REST, control.signal);
      maps = await askAttention(query, which, entry.id, by("maps").value, control.signal);
    } catch (error) {
      if (control.signal.aborted) return;
      note("");
      by("encoder-label").hidden = true;
      unanswered = error.status === 0;
      return fault("compare-fault", error);
    }
    if (control.signal.aborted) return;
    kept.set(key, maps);
  }
  offer(maps);
  lay(maps);
}

// The choices of overlay: first each encoder that both images passed, then the encoders of their own modalities in
// pairs. The previous choice is kept if it is available.
function pairs({ query, match }) {
  const [ours, theirs] = [query, match].map(({ maps }) => maps.map(({ encoder }) => encoder));
  const own = [ours.filter((name) => !theirs.includes(name)), theirs.filter((name) => !ours.includes(name))];
  return [
    ...ours.filter((name) => theirs.includes(name)).map((name) => ({ label: name, query: name, match: name })),
    ...own[0].map((name, at) => ({ label: `${name}, ${own[1][at] ?? "none"}`, query: name, match: own[1][at] })),
  ];
}

function offer(maps) {
  const labels = pairs(maps).map(({ label }) => label);
  const before = by("encoder").value;
  by("encoder").replaceChildren(...labels.map((label) => element("option", { value: label, selected: label === before }, label)));
  by("encoder-label").hidden = labels.length < 2;
}

// Overlay the maps of the chosen encoders on the pictures, as far as there are any.
function lay(maps = kept.get(mapKey())) {
  const on = maps && by("attention-on").checked;
  const empty = [];
  const chosen = on && pairs(maps).find(({ label }) => label === by("encoder").value);
  for (const [name, side] of Object.entries(sides())) {
    const canvas = side.querySelector("canvas");
    const picture = side.querySelector("img");
    const map = chosen && maps[name].maps.find(({ encoder }) => encoder === chosen[name]);
    const painted = Boolean(map && picture && paint(canvas, map.heat, picture.naturalWidth, picture.naturalHeight));
    side.classList.toggle("heated", painted);
    if (on && picture && !painted) empty.push(name);
  }
  fade();
  const said = on && (maps.query.maps[0]?.kind === "rollout"
    ? `Bright: where the network looks in each image by itself; their similarity is ${score(maps.similarity)}`
    : `Bright: where the similarity of these two images, ${score(maps.similarity)}, comes from`);
  if (on) note(`${said}; each map to its own maximum.${
    empty.length ? ` Of the ${empty.join(" and of the ")} this encoder has none.` : ""}`);
}

function fade() {
  for (const side of Object.values(sides())) {
    const canvas = side.querySelector("canvas");
    if (canvas) canvas.style.opacity = by("opacity").value / 100;
  }
}
