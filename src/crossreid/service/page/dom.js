// Elements are built here only. Content from files and from the service becomes text, never markup.

export const by = (id) => document.getElementById(id);

// element("li", { class: "match", onclick: act }, child, "text"): attributes (true: present; null or false: left out), listeners, content.
export function element(tag, attributes = {}, ...content) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...content.filter((part) => part !== null && part !== undefined));
  return made;
}

// Show an error where it belongs; an abort is not an error.
export function fault(id, error) {
  by(id).textContent = error && error.name !== "AbortError" ? error.message : "";
}

// For screen readers only. While a dialog is open, nothing outside it is read out.
export function announce(text) {
  (document.querySelector("dialog[open] .spoken[role=status]") ?? by("status")).textContent = text;
}

const there = (part) => part.isConnected && part.getClientRects().length > 0;

// If a change of the page removes the focused element, the first existing one of `places` gets the focus.
export function keepFocus(change, ...places) {
  const before = document.activeElement ?? document.body;
  change();
  if (before !== document.body && !there(before)) places.map(by).find(there)?.focus();
}

export const isTyping = (target) =>
  target.closest("input:not([type=radio], [type=checkbox], [type=range], [type=file]), select, textarea") !== null;

// A key meant as a command: no modifier but Shift, not in a text field; letters are lower-cased, and a held key counts
// once.
export function command(event) {
  const letter = event.key.length === 1;
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || (letter && event.repeat)) return null;
  return letter ? event.key.toLowerCase() : event.key;
}
