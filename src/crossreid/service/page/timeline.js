// The timeline: a row per camera, a bar for each period in which an identity was in view.

import { command, element } from "./dom.js";
import { between, lasting, ticks } from "./clock.js";
import { LIGHT, coloured, nameOf, probabilityWords } from "./people.js";
import { counted } from "./words.js";

const TICK = 110; // least pixels between two
const LEAST = 9; // pixels of the shortest bar

// Assign presences to rows in which they do not touch: the row number of each presence.
function rowsOf(presences, gap) {
  const ends = [];
  return presences.map(({ first, last }) => {
    let row = ends.findIndex((end) => end + gap <= first);
    if (row < 0) row = ends.push(0) - 1;
    ends[row] = Math.max(last, first + gap);
    return row;
  });
}

// Show presences in `list` within `view` { from, to }. `act(presence)` opens one; `selected` is an identity or null.
export function showTimeline(list, axis, { cameras, presences, view, selected }, act) {
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.number : null;
  const span = view.to - view.from;
  const width = Math.max(200, axis.clientWidth);
  const at = (time) => (100 * (time - view.from)) / span;
  const marks = ticks(view.from, view.to, Math.floor(width / TICK));
  axis.replaceChildren(...marks.map(([time, text]) => placed(element("span", {}, text), at(time))));
  list.replaceChildren(...cameras.map(({ name }) => {
    const here = presences.filter(({ camera }) => camera === name);
    const rows = rowsOf(here, (LEAST * 1.3 * span) / width);
    const lane = element("div", { class: "lane" }, ...marks.map(([time]) => placed(element("i", {}), at(time))),
      ...here.map((presence, place) => bar(presence, rows[place], at, act)));
    lane.style.setProperty("--rows", String(Math.max(1, ...rows.map((row) => row + 1))));
    return element("li", { "data-camera": name }, element("h3", { class: "data" }, name, element("small", {}, counted(new Set(here.map(({ identity }) => identity)).size, "identity", "identities"))), lane);
  }));
  list.onkeydown = (event) => keys(event, list);
  markSelected(list, selected);
  const bars = [...list.querySelectorAll(".bar")];
  const current = bars.find((one) => one.dataset.number === focused) ?? bars.find((one) => one.dataset.identity === selected) ?? bars[0];
  current?.setAttribute("tabindex", "0");
  if (focused !== null) current?.focus({ preventScroll: true });
}

const placed = (made, left) => {
  made.style.setProperty("--left", `${left.toFixed(3)}%`);
  return made;
};

function bar(presence, row, at, act) {
  const { number, identity, name, camera, first, last, open, modality, probability } = presence;
  const left = Math.max(0, at(first));
  const right = Math.min(100, at(last));
  const words = [nameOf(presence), camera, `${between(first, last)} (${lasting(last - first)})`, modality, probabilityWords(probability), open ? "still there" : null];
  const made = element("button", {
    type: "button", tabindex: "-1", class: `bar ${modality}${open ? " open-end" : ""}${name === null ? " unknown" : ""}`,
    "data-number": String(number), "data-identity": identity, "aria-label": words.filter(Boolean).join(", "), title: words.filter(Boolean).join("\n"),
    onclick: () => act(presence),
  }, element("span", { class: "light", "aria-hidden": "true" }, LIGHT[modality]), element("span", { class: "label data", "aria-hidden": "true" }, nameOf(presence)));
  made.style.setProperty("--row", String(row));
  made.style.setProperty("--width", `${Math.max(0, right - left).toFixed(3)}%`);
  return coloured(placed(made, left), identity);
}

export function markSelected(list, selected) {
  list.classList.toggle("chosen", selected !== null);
  for (const one of list.querySelectorAll(".bar")) {
    one.classList.toggle("selected", one.dataset.identity === selected);
    one.setAttribute("aria-pressed", String(one.dataset.identity === selected));
  }
}

export function focusBar(list, number) {
  const found = list.querySelector(`.bar[data-number="${Number(number)}"]`);
  if (found) move(list, found);
  return found !== null;
}

function move(list, to) {
  for (const one of list.querySelectorAll('.bar[tabindex="0"]')) one.setAttribute("tabindex", "-1");
  to.setAttribute("tabindex", "0");
  to.focus();
}

const middle = (one) => {
  const { left, right } = one.getBoundingClientRect();
  return (left + right) / 2;
};

// Arrows move through the bars of a camera, and to the bar nearest in time of the next camera that has any.
function keys(event, list) {
  const here = event.target.closest(".bar");
  const key = command(event);
  if (here === null || key === null) return;
  const lanes = [...list.querySelectorAll(".lane")].map((lane) => [...lane.querySelectorAll(".bar")]).filter((bars) => bars.length > 0);
  const row = lanes.findIndex((bars) => bars.includes(here));
  const bars = lanes[row];
  const place = bars.indexOf(here);
  const nearest = (others) => others?.reduce((best, one) => (Math.abs(middle(one) - middle(here)) < Math.abs(middle(best) - middle(here)) ? one : best));
  const to = {
    ArrowLeft: () => bars[place - 1], ArrowRight: () => bars[place + 1], Home: () => bars[0], End: () => bars.at(-1),
    ArrowUp: () => nearest(lanes[row - 1]), ArrowDown: () => nearest(lanes[row + 1]),
  }[key]?.();
  if (to === undefined) return;
  move(list, to);
  event.preventDefault();
}
