// The dialog that asks for a key, on either page.

import { by } from "./dom.js";
import { onLocked } from "./service.js";

// `after`: what gets the focus once a key was entered, if nothing had it before.
export const startUnlock = (after) => onLocked((message) => askForKey(message, after));

function askForKey(message, after) {
  const dialog = by("unlock");
  by("unlock-fault").textContent = message;
  by("key").value = "";
  const lost = document.activeElement === document.body; // to which the focus would return
  let given = null;
  return new Promise((done) => {
    by("unlock-form").onsubmit = (event) => {
      event.preventDefault();
      const key = by("key").value.trim();
      if (!/^[\x21-\x7e]+$/.test(key)) {
        by("unlock-fault").textContent = "A key is a single word of ASCII letters, digits and symbols.";
        return;
      }
      given = key;
      dialog.close();
    };
    by("unlock-cancel").onclick = () => dialog.close();
    dialog.addEventListener("close", () => {
      by("key").value = "";
      if (given === null) by("enter-key").hidden = false;
      if (lost) by(given === null ? "enter-key" : after).focus();
      done(given);
    }, { once: true });
    dialog.showModal();
  });
}
