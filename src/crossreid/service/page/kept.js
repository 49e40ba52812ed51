// A cache of what was fetched last, cleared when the key changes.

import { events } from "./service.js";

export function keeping(most) {
  const kept = new Map(); // most recently used last
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
