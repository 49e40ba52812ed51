// Filters on the matches, the number of matches, and a summary of what is set.

import { by, element } from "./dom.js";
import { cameraName, counted, time, zone } from "./words.js";

const NONE = "No filter: the whole gallery is searched.";
let most = 200;

export function startFilters() {
  by("zone").textContent = `Times here and of the entries are in ${zone()}. Entries without a time match neither limit.`;
  cameras(null);
  describe();
}

export function limitMatches(k) {
  most = k;
  by("k").max = k;
  if (Number(by("k").value) > k) by("k").value = k;
}

// Checkboxes for `counts`, {camera: entries}; a text field if the gallery does not count them.
export function cameras(counts) {
  const ticked = new Set(camerasSet());
  by("cameras").classList.toggle("listed", counts !== null);
  if (counts === null) {
    by("cameras").replaceChildren(element("label", {}, "Numbers, separated by commas ",
      element("input", { type: "text", id: "camera-numbers", inputmode: "numeric", value: [...ticked].join(", ") })));
    return;
  }
  const known = Object.entries(counts).map(([camera, count]) => [Number(camera), count]).sort(([a], [b]) => a - b);
  by("cameras").replaceChildren(...known.map(([camera, count]) => element("label", { class: camera ? "tick" : "tick wide" },
    element("input", { type: "checkbox", name: "camera", value: String(camera), checked: ticked.has(camera) }),
    ` ${camera || "unknown"} `, element("small", { "aria-label": counted(count, "entry", "entries") }, count.toLocaleString("en")))));
}

function camerasSet() {
  const numbers = by("camera-numbers");
  if (numbers === null) return [...document.querySelectorAll("input[name=camera]:checked")].map((box) => Number(box.value));
  return numbers.value.split(/[\s,;]+/).filter(Boolean).map(Number);
}

// {k, filter}; raises if a field is invalid.
export function filters() {
  const filter = conditions();
  const k = by("k").valueAsNumber;
  if (!Number.isInteger(k) || k < 1 || k > most) throw new Error(`Number of matches: expected 1 to ${most}.`);
  return { k, filter };
}

function conditions() {
  const filter = {};
  const modality = document.querySelector("input[name=filter_modality]:checked").value;
  if (modality) filter.modality = modality;
  const chosen = camerasSet();
  if (!chosen.every(Number.isSafeInteger)) throw new Error("Cameras: expected whole numbers separated by commas.");
  if (chosen.length) filter.cameras = chosen;
  for (const [name, label] of [["since", "From"], ["until", "Until"]]) {
    const moment = momentOf(by(name), label);
    if (moment !== null) filter[name] = moment;
  }
  if (filter.since && filter.until && filter.since >= filter.until) throw new Error("From is not before until: nothing could match.");
  const identity = by("identity").value.trim();
  if (identity) filter.identity = identity;
  if (by("source-prefix").value) filter.source_prefix = by("source-prefix").value;
  return filter;
}

function momentOf(field, label) {
  if (field.validity.badInput) throw new Error(`${label}: the time is not complete. Fill in date and time, or clear it.`);
  if (!field.value) return null;
  const at = new Date(field.value);
  const year = /^\d{4}-/.test(field.value) ? at.getUTCFullYear() : NaN; // a longer one is not read the same everywhere
  if (!(year >= 1 && year <= 9999)) throw new Error(`${label}: expected a year from 1 to 9999.`);
  return at.toISOString();
}

export function words(filter) {
  const said = [];
  if (filter.modality) said.push(`${filter.modality} only`);
  if (filter.cameras) said.push(filter.cameras.length === 1 ? cameraName(filter.cameras[0]) : `cameras ${filter.cameras.map((camera) => camera || "unknown").join(", ")}`);
  if (filter.since) said.push(`from ${time(filter.since)}`);
  if (filter.until) said.push(`until ${time(filter.until)}`);
  if (filter.identity) said.push(`identity ${filter.identity}`);
  if (filter.source_prefix) said.push(`source starts with ${filter.source_prefix}`);
  return said;
}

// Show what is set.
export function describe() {
  let said;
  try {
    const set = words(conditions());
    said = set.length ? `Set: ${set.join("; ")}.` : NONE;
  } catch (error) {
    said = error.message;
  }
  by("active").textContent = said;
  by("reset").hidden = said === NONE;
}

export function resetFilters() {
  document.querySelector("input[name=filter_modality][value='']").checked = true;
  for (const box of document.querySelectorAll("input[name=camera]")) box.checked = false;
  for (const id of ["since", "until", "identity", "source-prefix", "camera-numbers"]) if (by(id)) by(id).value = "";
  describe();
}
