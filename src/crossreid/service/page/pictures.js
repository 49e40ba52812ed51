// Pictures: the service's, fetched with the key once they come near the screen, and those of local files.

import { element } from "./dom.js";
import { keeping } from "./kept.js";
import { events, image } from "./service.js";

const SOON = 4; // seconds until a failed request is retried; doubled each time
const LATEST = 64;
const PROMPT = 3; // that many times it is also retried as soon as the service answers anything
const kept = keeping(60);
const wanted = new WeakMap(); // frame -> { alt, onload, entry, size, get, failures, control, timer }
const failed = new Set(); // frames whose request is retried

const watcher = new IntersectionObserver(
  (seen) => {
    for (const { isIntersecting, target } of seen) {
      if (!isIntersecting) continue;
      watcher.unobserve(target);
      load(target);
    }
  },
  { rootMargin: "400px" },
);

async function load(frame) {
  const want = wanted.get(frame);
  const { entry, size, alt, get } = want;
  const name = JSON.stringify([entry.id, size]);
  want.control = new AbortController();
  try {
    let blob = kept.get(name);
    if (blob === undefined) kept.set(name, (blob = await get(want.control.signal)));
    show(frame, want, blob);
  } catch (error) {
    if (error.name === "AbortError") return;
    stand(frame, error.message, alt);
    const { status } = error;
    if (status === 0 || status === 429 || status >= 500) retry(frame, want, true);
    else if (status === 401) retry(frame, want, false); // it may work with the next key; until then retrying is pointless
  }
}

function retry(frame, want, timed) {
  want.failures += 1;
  failed.add(frame);
  const wait = Math.min(SOON * 2 ** (want.failures - 1), LATEST);
  if (timed) want.timer = setTimeout(() => again(frame), 1000 * wait);
}

function again(frame) {
  clearTimeout(wanted.get(frame).timer);
  failed.delete(frame);
  watcher.observe(frame);
}

events.addEventListener("answered", () => {
  for (const frame of [...failed]) if (wanted.get(frame).failures <= PROMPT) again(frame);
});

function show(frame, want, blob) {
  const picture = element("img", { alt: want.alt, decoding: "async", draggable: "false" });
  const url = URL.createObjectURL(blob);
  const ended = (act) => () => {
    URL.revokeObjectURL(url); // the decoded picture stays; the address is no longer needed
    if (wanted.get(frame) === want) act(); // otherwise it was released meanwhile
  };
  picture.onload = ended(() => {
    frame.classList.remove("empty");
    frame.replaceChildren(picture);
    want.onload?.(picture);
  });
  picture.onerror = ended(() => stand(frame, "this browser cannot show it", want.alt));
  picture.src = url;
}

function stand(frame, why, alt) {
  frame.classList.add("empty");
  frame.replaceChildren(element("span", { role: "img", "aria-label": `${alt} (${why})` }, why));
}

// A frame with the image of an entry, `size` pixels at its longest side; `now`: not only once it is near the screen; `get` fetches it
// where it is no entry of the gallery: { id, image } then stands for one.
export function entryPicture(entry, size, alt, { now = false, onload = null, get = (signal) => image(entry.id, size, signal) } = {}) {
  const frame = element("span", { class: "picture" });
  if (!entry.image) stand(frame, "no image", alt);
  else {
    wanted.set(frame, { alt, onload, entry, size, get, failures: 0, control: null, timer: null });
    if (now) load(frame);
    else watcher.observe(frame);
  }
  return frame;
}

// A frame with an image from this computer.
export function filePicture(file, alt, onload = null) {
  const frame = element("span", { class: "picture" });
  const want = { alt, onload };
  wanted.set(frame, want);
  show(frame, want, file);
  return frame;
}

// Stop fetching and showing what is about to be removed.
export function release(container) {
  for (const frame of container.querySelectorAll(".picture")) {
    const want = wanted.get(frame);
    wanted.delete(frame);
    failed.delete(frame);
    watcher.unobserve(frame);
    clearTimeout(want?.timer);
    want?.control?.abort();
  }
}
