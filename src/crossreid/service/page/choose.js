// The question which of some answers is meant.

import { by, element } from "./dom.js";

// Ask which of some `answers`, [label, what it does] each, is meant; to close the question is none. The first is the main one
// where `main` says so, and else the last has the focus.
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
