// What was fetched and may soon be wanted again: the last so many, until the key is another one.

import { events } from "./service.js";

export function keeping(most) {
  const kept = new Map(); // what was used last is last
  events.addEventListener("key", () => kept.clear());
  return {
    get(name) {
      const found = kept.get(name);
      if (found !== undefined && kept.delete(name)) kept.set(name, found);
      return found;
    },
    set(name, found) {
      kept.set(name, found);
      if (kept.size > most) kept.delete(kept.keys().next().value);
    },
  };
}
