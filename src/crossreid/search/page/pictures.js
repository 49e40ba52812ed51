// Pictures: the service's, fetched with the key once they come near the screen, and those of local files.

import { element } from "./dom.js";
import { image } from "./service.js";

const TRIES = 4;
const LONGEST_WAIT = 30;
const fetching = new WeakMap(); // frame -> AbortController
const waiting = new WeakMap(); // frame -> what to fetch

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

const pause = (seconds, signal) =>
  new Promise((done, abort) => {
    const timer = setTimeout(done, 1000 * seconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); abort(signal.reason); }, { once: true });
  });

async function fetched(entry, size, signal) {
  for (let left = TRIES; ; left -= 1) {
    try {
      return await image(entry.id, size, signal);
    } catch (error) {
      if (error.status !== 429 || left === 1) throw error;
      await pause(Math.min(error.wait ?? 1, LONGEST_WAIT), signal);
    }
  }
}

async function load(frame) {
  const { entry, size, alt, onload } = waiting.get(frame);
  const control = new AbortController();
  fetching.set(frame, control);
  try {
    show(frame, await fetched(entry, size, control.signal), alt, onload);
  } catch (error) {
    if (error.name !== "AbortError") stand(frame, error.message, alt);
  }
}

function show(frame, blob, alt, onload) {
  const picture = element("img", { alt, decoding: "async", draggable: "false" });
  const url = URL.createObjectURL(blob);
  picture.onload = () => { // what is decoded stays; the address is needed no more
    URL.revokeObjectURL(url);
    frame.classList.remove("empty");
    frame.replaceChildren(picture);
    onload?.(picture);
  };
  picture.onerror = () => {
    URL.revokeObjectURL(url);
    stand(frame, "this browser cannot show it", alt);
  };
  picture.src = url;
}

function stand(frame, why, alt) {
  frame.classList.add("empty");
  frame.replaceChildren(element("span", { role: "img", "aria-label": `${alt} (${why})` }, why));
}

// A frame with the image of an entry, `size` pixels at its longest side; `now`: not only once it is near the screen.
export function entryPicture(entry, size, alt, { now = false, onload = null } = {}) {
  const frame = element("span", { class: "picture" });
  if (!entry.image) stand(frame, "no image", alt);
  else {
    waiting.set(frame, { entry, size, alt, onload });
    if (now) load(frame);
    else watcher.observe(frame);
  }
  return frame;
}

// A frame with an image of this computer.
export function filePicture(file, alt, onload = null) {
  const frame = element("span", { class: "picture" });
  show(frame, file, alt, onload);
  return frame;
}

// Fetch no more of what is about to go.
export function release(container) {
  for (const frame of container.querySelectorAll(".picture")) {
    watcher.unobserve(frame);
    fetching.get(frame)?.abort();
  }
}
