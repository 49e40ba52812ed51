// Bars fixed at an edge cover what scrolls below them. The style sheet gets their heights, `--ID-height`, and keeps
// elements that take the focus clear of them; the focused element is moved when a growing bar would cover it.

import { by } from "./dom.js";

const heights = new Map();

const watcher = new ResizeObserver((seen) => {
  for (const { target } of seen) {
    const height = target.offsetHeight;
    document.documentElement.style.setProperty(`--${target.id}-height`, `${height}px`);
    if (height > (heights.get(target) ?? 0)) uncover(target);
    heights.set(target, height);
  }
});

function uncover(bar) {
  const focused = document.activeElement;
  if (focused === document.body || bar.contains(focused)) return;
  const [over, under] = [bar, focused].map((part) => part.getBoundingClientRect());
  const beside = over.left >= under.right || under.left >= over.right;
  if (!beside && over.top < under.bottom && under.top < over.bottom) focused.scrollIntoView({ block: "nearest" });
}

export function measureBars(...ids) {
  for (const id of ids) watcher.observe(by(id));
}
