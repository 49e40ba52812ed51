// Marks of matches as right or wrong for a query; kept in this tab, and exported for training.

const STORE = "crossreid.marks";
const EXPORTED = "crossreid.marks.exported";
export const COLUMNS = [
  "query", "query_sha256", "query_modality", "query_path", "query_identity", "query_camera", "query_time",
  "mark", "score", "rank", "id", "path", "identity", "camera", "modality", "time", "model",
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
let exported = sessionStorage.getItem(EXPORTED) !== null; // as they are now

export const unexported = () => marks.size > 0 && !exported;

export function noteExport() {
  exported = true;
  try {
    sessionStorage.setItem(EXPORTED, "yes");
  } catch { /* full: the next page takes them as not exported */ }
}

// Raises if the tab's storage is full: the mark then lasts until the page is left.
function keep() {
  exported = false;
  sessionStorage.removeItem(EXPORTED);
  try {
    sessionStorage.setItem(STORE, JSON.stringify([...marks]));
  } catch {
    throw new Error("This tab cannot store more marks: they are lost when you leave it. Export them, then clear them.");
  }
}

export const markOf = (query, entry) => marks.get(keyOf(query, entry))?.mark ?? null;

// mark: "right", "wrong" or null. `query.names` are file names, `query.sha256` those files' digests; or names are [`id:ID`], digests none.
export function setMark(query, match, model, mark) {
  const key = keyOf(query, match.entry);
  if (mark === null) marks.delete(key);
  else marks.set(key, recordOf(query, match, model, mark));
  keep();
}

const known = ({ id, source, identity, camera, modality, time }) => ({ id, source, identity, camera, modality, time });

function recordOf(query, { rank, score, entry }, model, mark) {
  const asking = query.entry === null ? null : known(query.entry);
  return { names: query.names, sha256: query.sha256, queryModality: query.modality, asking, mark, score, rank, entry: known(entry), model };
}

// Matches that are shown again take their current score, rank and query modality.
export function refresh(query, matches, model) {
  let changed = false;
  for (const match of matches) {
    const mark = markOf(query, match.entry);
    if (mark === null) continue;
    const key = keyOf(query, match.entry);
    const record = recordOf(query, match, model, mark);
    changed ||= JSON.stringify(record) !== JSON.stringify(marks.get(key));
    marks.set(key, record);
  }
  if (changed) keep();
}

export function clearMarks() {
  marks.clear();
  exported = false;
  for (const name of [STORE, EXPORTED]) sessionStorage.removeItem(name);
}

export function countMarks() {
  const all = [...marks.values()];
  return { right: all.filter((one) => one.mark === "right").length, wrong: all.filter((one) => one.mark === "wrong").length };
}

// A spreadsheet reads a cell with such a beginning as a formula (OWASP, "CSV injection"), so it gets a leading apostrophe. So do
// apostrophes followed by such a sign, so that removing one restores every text.
const text = (value) => {
  const safe = /^'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
};

// A row's columns about an entry; for a file, all of them are unknown.
function told(entry) {
  if (entry === null) return { path: "", identity: "", camera: "", time: "" };
  const { source, identity, camera, time } = entry;
  return { path: text(source), identity: text(identity ?? ""), camera: String(camera), time: text(time ?? "") };
}

// RFC 4180; a row per query image. Spreadsheets read a file as UTF-8 if it begins with a byte order mark.
export function marksCsv() {
  const rows = [COLUMNS.join(",")];
  for (const { names, sha256, queryModality, asking, mark, score, rank, entry, model } of marks.values()) {
    const [query, match] = [told(asking), told(entry)];
    names.forEach((name, place) => {
      rows.push([
        text(name), sha256[place] ?? "", queryModality, query.path, query.identity, query.camera, query.time,
        mark, String(score), String(rank), text(entry.id), match.path, match.identity, match.camera, entry.modality, match.time, text(model),
      ].join(","));
    });
  }
  return `\ufeff${rows.map((row) => `${row}\r\n`).join("")}`;
}
