// One identity: where else it was seen, its crops, and the corrections a person may make.

import { by, element } from "./dom.js";
import { between, lasting, moment } from "./clock.js";
import { LIGHT, coloured, nameOf, numberOf, probabilityWords } from "./people.js";
import { entryPicture, release } from "./pictures.js";
import { crop } from "./watch_service.js";
import { counted } from "./words.js";

const CROPS = 8;

// Show an identity { identity, name, tracks }. `others`: identities it may be merged with. `act` has go(track), merge(other) and
// split(tracks), the last two null if the key may not do that.
export function showPerson(found, others, act) {
  const { tracks } = found;
  const cameras = new Set(tracks.map(({ camera }) => camera));
  by("person-title").replaceChildren(coloured(element("span", { class: "swatch", "aria-hidden": "true" }), found.identity),
    element("span", { class: "data" }, nameOf(found)), " ", found.name === null ? "" : element("small", {}, found.identity));
  const first = Math.min(...tracks.map((track) => track.first));
  const last = Math.max(...tracks.map((track) => track.last));
  by("person-facts").textContent = tracks.length === 0 ? "All of its tracks have been deleted."
    : `${counted(tracks.length, "track")} in ${counted(cameras.size, "camera")}, ${between(first, last)}.`;
  const list = by("person-tracks");
  release(list);
  list.replaceChildren(...tracks.map((track) => item(track, act)));
  by("person-correct").hidden = act.merge === null;
  if (act.merge !== null) offer(found, others, act);
}

function item(track, act) {
  const { number, camera, first, last, modality, probability, pinned, crops } = track;
  const shown = crops.filter(({ image }) => image).slice(0, CROPS);
  const name = `track in ${camera}, ${between(first, last)}`;
  return element("li", { class: modality },
    element("p", { class: "track" },
      act.split === null ? null : element("label", { class: "tick" }, element("input", { type: "checkbox", value: String(number), "aria-label": `Split off: ${name}` })),
      element("button", { type: "button", class: "link go-to", "aria-label": `Show in the timeline: ${name}`, onclick: () => act.go(track) }, element("span", { class: "data" }, camera)),
      element("span", { title: modality }, element("span", { "aria-hidden": "true" }, LIGHT[modality]), element("span", { class: "spoken" }, modality)),
      element("span", {}, between(first, last)), element("small", {}, `${lasting(last - first)}; ${probabilityWords(probability, pinned)}`)),
    shown.length === 0 ? element("p", { class: "note" }, "No images were kept.") : element("ul", { class: "crops" }, ...shown.map(({ index, time }) =>
      element("li", {}, entryPicture({ id: `crop ${number} ${index}`, image: true }, 0, `${camera}, ${moment(time)}`, { get: (signal) => crop(number, index, signal) })))));
}

function offer(found, others, act) {
  const select = by("merge-with");
  const options = others.filter(({ identity }) => identity !== found.identity);
  select.replaceChildren(element("option", { value: "" }, options.length ? "choose an identity" : "there are no others"),
    ...options.map((one) => element("option", { value: one.identity }, `${nameOf(one)}${one.name === null ? "" : ` (${one.identity})`}: ${one.cameras.join(", ")}, ${moment(one.last)}`)));
  const ticked = () => [...by("person-tracks").querySelectorAll("input:checked")].map(({ value }) => Number(value));
  const changed = () => {
    by("merge").disabled = select.value === "";
    const count = ticked().length;
    by("split").disabled = count === 0 || count === found.tracks.length;
    by("split").textContent = count === 0 ? "Split off the ticked tracks" : `Split off ${counted(count, "ticked track")}`;
  };
  select.onchange = changed;
  by("person-tracks").onchange = changed;
  by("merge").onclick = () => act.merge(options.find(({ identity }) => identity === select.value));
  by("split").onclick = () => act.split(ticked());
  changed();
}

// For two identities to merge: [the one that stays, the other]. The one with a name stays, or else the older one.
export function order(one, other) {
  const named = Number(one.name === null) - Number(other.name === null);
  return named < 0 || (named === 0 && numberOf(one.identity) < numberOf(other.identity)) ? [one, other] : [other, one];
}
