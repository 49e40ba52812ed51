// The ranked list, and the buttons and keys that mark its matches.

import { by, command, element } from "./dom.js";
import { entryPicture, release } from "./pictures.js";
import { chance, entryWords, facts, score } from "./words.js";

const SIGNS = { right: "\u2713", wrong: "\u2717" };
const KEYS = { r: "right", w: "wrong", u: null };

// Toggle buttons for right and wrong; `set(mark)` with the same mark again removes it.
export function markButtons(set, name = "") {
  return ["right", "wrong"].map((mark) => element("button", {
    type: "button", class: `mark ${mark}`, "data-mark": mark, "aria-pressed": "false", "aria-keyshortcuts": mark[0],
    "aria-label": name ? `${mark}: ${name}` : null, onclick: () => set(mark),
  }, element("span", { "aria-hidden": "true" }, `${SIGNS[mark]} `), mark));
}

export function pressed(container, mark) {
  for (const button of container.querySelectorAll("button[data-mark]")) {
    button.setAttribute("aria-pressed", String(button.dataset.mark === mark));
  }
}

// The mark that a key sets, given the current one; undefined if it sets none.
export function markByKey(key, present) {
  if (!(key in KEYS)) return undefined;
  return KEYS[key] === present ? null : KEYS[key];
}

// The second click of a double click would act on what the first has brought there.
const once = (act) => ({ detail }) => { if (detail < 2) act(); };

export const factList = (entry, all = false) =>
  element("dl", { class: "facts" }, ...facts(entry, all).map(([name, value, iso]) => element("div", {},
    element("dt", {}, name),
    element("dd", { class: "data", title: value }, iso ? element("time", { datetime: iso }, value) : value))));

// Show matches in `list`. `act` has compare(place), search(entry), mark(place, mark) and markOf(place).
export function showMatches(list, matches, act) {
  release(list);
  list.replaceChildren(...matches.map((match, place) => item(match, place, act)));
  list.onkeydown = (event) => keys(event, list, matches, act);
  matches.forEach((_, place) => showMark(list, place, act.markOf(place)));
}

function item({ rank, score: value, entry, is_query: own, probability, accepted }, place, act) {
  const name = `match ${rank}, ${entryWords(entry)}`;
  return element("li", { class: accepted === false ? "card match below" : "card match" },
    element("button", { type: "button", class: "open", "aria-haspopup": "dialog", "aria-label": `Compare ${name}, score ${score(value)}`, onclick: () => act.compare(place) },
      entryPicture(entry, 384, "")),
    element("p", { class: "line" },
      element("span", { class: "rank" }, element("span", { class: "spoken" }, "Rank "), String(rank)),
      element("span", { class: "score", title: "cosine similarity" }, element("span", { class: "spoken" }, "score "), score(value)),
      probability === null ? null : element("span", { class: "chance", title: "probability that both show the same identity" }, element("span", { class: "spoken" }, "probability "), element("span", { "aria-hidden": "true" }, "p "), chance(probability)),
      element("span", { class: "verdict" })),
    accepted === false ? element("p", { class: "under" }, "below the threshold") : null,
    own ? element("p", { class: "own" }, "the query\u2019s own file") : null,
    factList(entry),
    element("div", { class: "act" },
      element("span", { class: "marking", role: "group", "aria-label": `Mark ${name}` }, ...markButtons((mark) => act.mark(place, mark === act.markOf(place) ? null : mark), name)),
      element("button", { type: "button", class: "use", "aria-label": `Search with ${name}`, onclick: once(() => act.search(entry)) }, "Search with this")));
}

export function showMark(list, place, mark) {
  const card = list.children[place];
  card.classList.toggle("right", mark === "right");
  card.classList.toggle("wrong", mark === "wrong");
  card.querySelector(".verdict").textContent = mark === null ? "" : `${SIGNS[mark]} ${mark}`;
  pressed(card, mark);
}

export const focusMatch = (list, place) => list.children[place]?.querySelector(".open").focus();

function keys(event, list, matches, act) {
  const place = [...list.children].indexOf(event.target.closest("li"));
  const key = command(event);
  if (place < 0 || key === null) return;
  const mark = markByKey(key, act.markOf(place));
  const to = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: matches.length - 1 }[key];
  if (mark !== undefined) act.mark(place, mark);
  else if (to !== undefined) focusMatch(list, to);
  else if (key === "s") act.search(matches[place].entry);
  else return;
  event.preventDefault();
}

// Entries to start from.
export function showSamples(entries, search) {
  const list = by("samples");
  release(list);
  list.replaceChildren(...entries.map((entry) => element("li", { class: "card" },
    element("button", { type: "button", class: "open", "aria-label": `Search with ${entryWords(entry)}`, onclick: once(() => search(entry)) },
      entryPicture(entry, 384, "")),
    factList(entry))));
}
