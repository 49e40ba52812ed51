// How values are shown to people.

const two = (number) => String(number).padStart(2, "0");

export const counted = (count, noun, plural = `${noun}s`) => `${count.toLocaleString("en")} ${count === 1 ? noun : plural}`;

export const cameraName = (camera) => (camera ? `camera ${camera}` : "camera unknown");

export const score = (value, digits = 3) => value.toFixed(digits).replace("-", "\u2212");

// A probability, never as certain as 0 or 1.
export const chance = (value) => (value < 0.001 ? "under 0.001" : value > 0.999 ? "over 0.999" : value.toFixed(3));

// In this computer's time zone, which `zone` names.
export function time(iso) {
  const at = new Date(iso);
  if (!/^\d{4}-/.test(iso) || Number.isNaN(at.getTime())) return iso; // beyond the calendar
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

export function zone() {
  const minutes = -new Date().getTimezoneOffset();
  const size = Math.abs(minutes);
  const offset = `UTC${minutes < 0 ? "\u2212" : "+"}${two(Math.floor(size / 60))}:${two(size % 60)}`;
  const name = Intl.DateTimeFormat().resolvedOptions().timeZone;
  return name && name !== "UTC" ? `${name} (now ${offset})` : "UTC";
}

// An entry in a sentence: identity, modality, camera.
export function entryWords(entry) {
  const who = entry.identity === null ? "identity unknown" : `identity ${entry.identity}`;
  return `${who}, ${entry.modality}, ${cameraName(entry.camera)}`;
}

// What is known about an entry: [name, value, ISO time] each.
export function facts(entry, all = false) {
  const known = [["identity", entry.identity ?? "unknown identity"], ["seen", `${entry.modality}, ${cameraName(entry.camera)}`]];
  if (entry.time !== null) known.push(["time", time(entry.time), entry.time]);
  if (entry.source === entry.id) known.push(["id, source", entry.id]);
  else {
    if (entry.source !== "") known.push(["source", entry.source]);
    if (all || entry.source === "") known.push(["id", entry.id]);
  }
  return known;
}
