// The query: images from this computer (several form one tracklet), or an entry of the gallery.

import { announce, by, element, fault } from "./dom.js";
import { entryPicture, filePicture, release } from "./pictures.js";
import { counted, entryWords, facts } from "./words.js";

// { key, names, images: [{ file, name, print, pasted }], entry, modality }; `key` identifies a query, whatever its stated modality.
const EMPTY = { images: [], entry: null };
let current = EMPTY;
let limits = { images: 16, bytes: 16_000_000, formats: [] };
let changed = () => {};
let addresses = []; // of the images that can be saved
let only = null; // the modality of all entries, if they share one: then the query's modality is not asked for
let asksAnyway = false; // unless the user wants to choose

export const hasQuery = () => current !== EMPTY;
const saidModality = () => document.querySelector("input[name=modality]:checked")?.value ?? null;

// The current query; raises if something is missing.
export function query() {
  const { images, entry } = current;
  if (entry !== null) return { images, entry, key: `id:${entry.id}`, names: [`id:${entry.id}`], modality: entry.modality };
  if (images.length === 0) throw new Error("There is no query yet. Choose images, or start from an entry of the gallery.");
  const modality = saidModality();
  if (modality === null) throw new Error("Say whether the images of the query are visible or infrared.");
  const key = images.map((one) => one.print).sort().join(" ");
  return { images, entry, key, names: images.map((one) => one.name), modality };
}

// The modality of all entries, null if they have both or it is unknown.
export function oneModality(modality) {
  only = modality;
  if (only !== null && !asksAnyway && saidModality() === null) document.querySelector(`input[name=modality][value=${only}]`).checked = true;
  drawModality();
}

function drawModality() {
  const asked = current.entry === null;
  const settled = asked && only !== null && !asksAnyway;
  by("query-modality").hidden = !asked || settled;
  by("one-modality").hidden = !settled;
  by("one-modality").firstElementChild.textContent = `All entries are ${only}, so query images are taken as ${saidModality()}.`;
}

export function setQuery({ images, entry, modality }) {
  current = { images, entry };
  if (entry === null) document.querySelector(`input[name=modality][value=${modality}]`).checked = true;
  draw();
}

export function startQuery({ limits: told, onchange }) {
  limits = told ?? limits;
  changed = onchange ?? changed;
  by("other-modality").onclick = () => {
    asksAnyway = true;
    drawModality();
    document.querySelector("input[name=modality]:checked").focus();
  };
}

// 64 bits of the content (FNV-1a over two lanes): the same file is the same query, also from another folder.
async function printOf(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  let [one, two] = [0x811c9dc5, 0x1b873593];
  for (const byte of bytes) {
    one = Math.imul(one ^ byte, 0x01000193);
    two = Math.imul(two ^ byte, 0x85ebca6b);
  }
  return `${bytes.length}-${(one >>> 0).toString(16)}${(two >>> 0).toString(16).padStart(8, "0")}`;
}

function refused(file) { // the service checks the rest
  const expected = limits.formats.length ? limits.formats.join(", ") : "an image";
  if (file.type !== "" && !file.type.startsWith("image/")) return `${file.name} is not an image but ${file.type}; expected ${expected}.`;
  if (file.size === 0) return `${file.name} is empty.`;
  if (file.size >= limits.bytes) {
    return `${file.name} has ${counted(file.size, "byte")}; expected fewer than ${counted(limits.bytes, "byte")} in a query. Crop or shrink it.`;
  }
  return null;
}

// Add files to the query; unusable ones are named, the others are added. `pasted` ones have no name of their own.
export async function addFiles(files, pasted = false) {
  fault("query-fault", null);
  const troubles = [];
  const added = [];
  for (const file of files) {
    const trouble = refused(file);
    if (trouble !== null) {
      troubles.push(trouble);
      continue;
    }
    let print;
    try {
      print = await printOf(file);
    } catch {
      troubles.push(`${file.name} cannot be read; is it a folder?`);
      continue;
    }
    added.push({ file, print, pasted, name: pasted ? `pasted-${print}.${file.type.split("/")[1] ?? "png"}` : file.name });
  }
  const images = [...current.images]; // only now: other files may have been added while these were read
  for (const one of added) {
    if (images.some((other) => other.print === one.print)) troubles.push(`${one.name} is already in the query.`);
    else if (images.length >= limits.images) troubles.push(`${one.name} is left out: a query has at most ${limits.images} images.`);
    else images.push(one);
  }
  const more = images.length - current.images.length;
  if (more > 0) {
    current = { images, entry: null };
    draw();
    changed();
    announce(`${counted(more, "image")} added; ${images.length} in the query.`);
  }
  if (troubles.length) fault("query-fault", new Error(troubles.join(" ")));
}

export function clearQuery() {
  current = EMPTY;
  fault("query-fault", null);
  draw();
  changed();
}

function remove(place) {
  fault("query-fault", null); // it may name what is removed
  const images = current.images.filter((_, other) => other !== place);
  if (images.length === 0) clearQuery();
  else {
    current = { images, entry: null };
    draw();
    changed();
  }
  const left = document.querySelectorAll("#query-images button");
  (left[Math.min(place, left.length - 1)] ?? by("files")).focus();
}

// A pasted image is not a file: saved under the name used in its marks, it can be trained on.
function saving(file, name) {
  const href = URL.createObjectURL(file);
  addresses.push(href);
  return element("a", { class: "button save", href, download: name, "aria-label": `Save ${name}` }, "Save");
}

function draw() {
  const { images, entry } = current;
  addresses.forEach((address) => URL.revokeObjectURL(address));
  addresses = [];
  release(by("query-images"));
  by("query-images").replaceChildren(...images.map(({ file, name, pasted }, place) =>
    element("li", {},
      filePicture(file, `Query image ${place + 1}: ${name}`),
      element("span", { class: "data", title: name }, name),
      pasted ? saving(file, name) : null,
      element("button", { type: "button", class: "remove", "aria-label": `Remove ${name}`, onclick: () => remove(place) }, "\u00d7"))));
  const place = by("query-entry");
  release(place);
  place.replaceChildren(...(entry === null ? [] : [
    entryPicture(entry, 384, `Query: ${entryWords(entry)}`, { now: true }),
    element("dl", { class: "facts" }, ...facts(entry, true).map(([name, value, iso]) => element("div", {},
      element("dt", {}, name),
      element("dd", { class: "data" }, iso ? element("time", { datetime: iso }, value) : value)))),
  ]));
  by("query-note").textContent = entry !== null ? "The query is an entry of the gallery. It is left out of its own matches."
    : images.length > 1 ? `${images.length} images are searched as one tracklet: all of the same person, vehicle or animal, in one modality.` : "";
  drawModality();
  by("clear-query").hidden = !hasQuery();
  by("drop").classList.toggle("filled", hasQuery());
}
