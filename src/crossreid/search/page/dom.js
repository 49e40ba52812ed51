// Elements are built here and nowhere else. What is shown comes from files and from the service: it becomes text, never markup.

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

// Say in place what went wrong; an abort is nobody's fault.
export function fault(id, error) {
  by(id).textContent = error && error.name !== "AbortError" ? error.message : "";
}

// Read out, and not otherwise shown.
export function announce(text) {
  by("status").textContent = text;
}

export const isTyping = (target) =>
  target.closest("input:not([type=radio], [type=checkbox], [type=range], [type=file]), select, textarea") !== null;

// A letter that was meant as a command: no modifier, no text field.
export const command = (event) =>
  event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) ? null : event.key;
