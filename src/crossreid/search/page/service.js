// What is asked of the service, with the key of this tab.

const KEY = "crossreid.key";

// A refusal in the service's own words; `status` 0 where it did not answer; `wait` seconds where it said when to come back.
export class Refusal extends Error {
  constructor(message, status = 0, wait = null) {
    super(wait === null || message.includes(`${wait} s`) ? message : `${message} Try again in ${wait} s.`);
    this.status = status;
    this.wait = wait;
  }
}

export const hasKey = () => sessionStorage.getItem(KEY) !== null;
export const forgetKey = () => sessionStorage.removeItem(KEY);

let askForKey = async () => null;
let asking = null;

// `ask(message)` gives a key that a person entered, or null.
export function onLocked(ask) {
  askForKey = ask;
}

async function unlocked(used, refusal) {
  if (sessionStorage.getItem(KEY) !== used) return true; // another request was given one meanwhile
  asking ??= askForKey(used === null ? "" : refusal.message).finally(() => (asking = null));
  const key = await asking;
  if (key !== null) sessionStorage.setItem(KEY, key);
  return key !== null;
}

async function refusalOf(response) {
  let message = `The service answered ${response.status} ${response.statusText}`.trim() + ".";
  try {
    message = (await response.json()).error.message ?? message;
  } catch { /* no JSON: a proxy's page, say; the status has to do */ }
  const after = response.headers.get("Retry-After");
  let wait = null;
  if (after !== null) {
    const seconds = /^\d+$/.test(after) ? Number(after) : (Date.parse(after) - Date.now()) / 1000;
    if (Number.isFinite(seconds)) wait = Math.max(1, Math.ceil(seconds));
  }
  return new Refusal(message, response.status, wait);
}

async function ask(path, options = {}) {
  for (;;) {
    const key = sessionStorage.getItem(KEY);
    const headers = { ...options.headers, ...(key === null ? {} : { Authorization: `Bearer ${key}` }) };
    let response;
    try {
      response = await fetch(path, { ...options, headers, credentials: "omit" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refusal("The service does not answer. See whether it still runs, and try again.");
    }
    if (response.ok) return response;
    const refusal = await refusalOf(response);
    options.signal?.throwIfAborted();
    if (response.status !== 401 || !(await unlocked(key, refusal))) throw refusal;
    options.signal?.throwIfAborted();
  }
}

const json = async (path, options) => (await ask(path, options)).json();

export const about = () => json("v1/about");
export const stats = () => json("v1/stats");
export const sample = async (count, seed) => (await json(`v1/sample?count=${count}&seed=${seed}`)).entries;

export async function image(id, size, signal) {
  return (await ask(`v1/image?${new URLSearchParams({ id, size })}`, { signal })).blob();
}

// `filter` has the names of POST /v1/search/ids: identity, cameras, modality, since, until, source_prefix.
export function search(query, k, filter, signal) {
  if (query.entry !== null) {
    const body = JSON.stringify({ ids: [query.entry.id], k, filter });
    return json("v1/search/ids", { method: "POST", body, headers: { "Content-Type": "application/json" }, signal });
  }
  const form = new FormData();
  for (const { file, name } of query.images) form.append("images", file, name);
  form.append("modality", query.modality);
  form.append("k", k);
  for (const [name, value] of Object.entries(filter)) {
    if (name === "cameras") for (const camera of value) form.append("filter_camera", camera);
    else form.append(`filter_${name}`, value);
  }
  return json("v1/search/images", { method: "POST", body: form, signal });
}

// `place`: which image of the query.
export function attention(query, place, id, signal) {
  const form = new FormData();
  form.append("id", id);
  if (query.entry !== null) form.append("query_id", query.entry.id);
  else {
    form.append("image", query.images[place].file, query.images[place].name);
    form.append("modality", query.modality);
  }
  return json("v1/attention", { method: "POST", body: form, signal });
}
