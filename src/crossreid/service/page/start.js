// How both pages start: they query the service about itself, and if that fails offer to enter a key or try again.

import { by, element, fault, keepFocus } from "./dom.js";
import * as service from "./service.js";
import { startUnlock } from "./unlock.js";

const FINAL = [401, 403]; // refusals that retrying does not change

// Start now, and again when the user retries or enters a key; the returned function starts it too, one run at a time.
// `begin` fetches what the page needs, or raises; `after` continues from there. `focus`: what gets the focus if a button that had
// it is gone. `final`: more refusals that retrying does not change.
export function startPage({ begin, after = null, focus, final = [] }) {
  let starting = null;
  const offer = (withKey, again) => keepFocus(() => {
    by("enter-key").hidden = !withKey;
    by("again").hidden = !again;
  }, "enter-key", "again", focus);

  async function run() {
    fault("about-fault", null);
    try {
      await begin();
    } catch (error) {
      fault("about-fault", error);
      offer(error.status === 401, ![...FINAL, ...final].includes(error.status));
      return;
    } finally {
      by("forget-key").hidden = !service.hasKey();
    }
    offer(false, false);
    await after?.();
  }

  const start = () => (starting ??= run().finally(() => { starting = null; }));
  startUnlock(focus);
  service.events.addEventListener("key", () => { if (service.hasKey()) start(); }); // with the key's name and roles
  by("again").onclick = by("enter-key").onclick = start;
  start();
  return start;
}

// Whether the key described by `about` has a role.
export const may = ({ roles }, role) => roles.includes(role) || roles.includes("admin");

export function refuseWithout(about, role) {
  if (may(about, role)) return;
  throw new service.Refusal(`The key "${about.name}" lacks the role ${role}; it has ${about.roles.join(", ") || "none"}. Forget it and enter another.`, 403);
}

// The key's name and roles, and `facts`: [name, value, more, title] each.
export function showAbout(about, facts) {
  const all = [["Key", about.name === "insecure" ? "none needed" : about.name, about.roles.join(", ")], ...facts];
  by("about").replaceChildren(...all.map(([name, value, more, title]) => element("div", {},
    element("dt", {}, name),
    element("dd", { class: "data", title }, value, more ? element("small", {}, ` ${more}`) : null))));
}
