// Marks: right or wrong, of a match for a query; kept in this tab, and exported for training.

const STORE = "crossreid.marks";
export const COLUMNS = [
  "query", "query_modality", "mark", "score", "rank", "id", "path", "identity", "camera", "modality", "time", "model",
];

const keyOf = (query, entry) => JSON.stringify([query.key, entry.id]);

function read() {
  try {
    return new Map(JSON.parse(sessionStorage.getItem(STORE) ?? "[]"));
  } catch {
    return new Map(); // not ours
  }
}

const marks = read();

// Raises where the tab's storage is full: the mark is then there until the page is left.
function keep() {
  try {
    sessionStorage.setItem(STORE, JSON.stringify([...marks]));
  } catch {
    throw new Error("This tab can keep no more marks: they are lost when it is left. Export them, then clear them.");
  }
}

export const markOf = (query, entry) => marks.get(keyOf(query, entry))?.mark ?? null;

// mark: "right", "wrong" or null. `query.names` are file names, or `id:ID`.
export function setMark(query, match, model, mark) {
  const key = keyOf(query, match.entry);
  if (mark === null) marks.delete(key);
  else marks.set(key, recordOf(query, match, model, mark));
  keep();
}

function recordOf(query, { rank, score, entry }, model, mark) {
  const { id, source, identity, camera, modality, time } = entry;
  return { names: query.names, queryModality: query.modality, mark, score, rank, entry: { id, source, identity, camera, modality, time }, model };
}

// Matches that are shown again take their present score, rank and modality of the query.
export function refresh(query, matches, model) {
  let changed = false;
  for (const match of matches) {
    const mark = markOf(query, match.entry);
    if (mark === null) continue;
    marks.set(keyOf(query, match.entry), recordOf(query, match, model, mark));
    changed = true;
  }
  if (changed) keep();
}

export function clearMarks() {
  marks.clear();
  sessionStorage.removeItem(STORE);
}

export function countMarks() {
  const all = [...marks.values()];
  return { right: all.filter((one) => one.mark === "right").length, wrong: all.filter((one) => one.mark === "wrong").length };
}

// A spreadsheet takes a cell that begins so for a formula (OWASP, "CSV injection"): an apostrophe goes before it. It also goes
// before apostrophes that are followed by such a sign, so that taking one away gives back every text.
const text = (value) => {
  const safe = /^'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
};

// RFC 4180; a row for each image of a query.
export function marksCsv() {
  const rows = [COLUMNS.join(",")];
  for (const { names, queryModality, mark, score, rank, entry, model } of marks.values()) {
    for (const name of names) {
      rows.push([
        text(name), queryModality, mark, String(score), String(rank), text(entry.id), text(entry.source),
        text(entry.identity ?? ""), String(entry.camera), entry.modality, text(entry.time ?? ""), text(model),
      ].join(","));
    }
  }
  return rows.map((row) => `${row}\r\n`).join("");
}
