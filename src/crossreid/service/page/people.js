// How identities are named and coloured, here and in the annotated video.

export const numberOf = (identity) => Number(identity.slice(1));

// Hues a golden angle apart: neighbours in number are far from each other (watching/identity_colours.py has the same).
export const hueOf = (identity) => (numberOf(identity) * 137.508) % 360;

export const nameOf = ({ identity, name }) => name ?? `unknown ${identity}`;

export function coloured(element, identity) {
  element.style.setProperty("--hue", hueOf(identity).toFixed(1));
  return element;
}

export const LIGHT = { infrared: "\u263e", visible: "\u2600" }; // moon, sun

// The probability of a match in words, or why there is none.
export function probabilityWords(probability, pinned = false) {
  if (pinned) return "decided by a person";
  if (probability === null) return "new, matched to nobody";
  return probability > 0.99 ? "probability over 0.99" : `probability ${probability.toFixed(2)}`;
}
