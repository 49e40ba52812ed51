// A dialog with a question and a choice of answers.

import { by, element } from "./dom.js";

// Ask for one of `answers`, [label, action] each; closing the dialog chooses none. With `main` the first is the main one,
// otherwise the last has the focus.
export function choose(title, text, answers, main = false) {
  by("confirm-title").textContent = title;
  by("confirm-text").textContent = text;
  const buttons = answers.map(([label, act], place) => element("button", {
    type: "button", class: main && place === 0 ? "main" : null, onclick: () => { by("confirm").close(); act?.(); },
  }, label));
  by("confirm-answers").replaceChildren(...buttons);
  by("confirm").showModal();
  buttons.at(main ? 0 : -1).focus();
}
