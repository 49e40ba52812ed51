// Requests to the service, with the key of this tab.

import { pause } from "./waiting.js";

const KEY = "crossreid.key";
const TRIES = 4;
const LONGEST_WAIT = 30;

// "answered": the service has answered without a refusal. "key": the key has changed or was removed.
export const events = new EventTarget();
const tell = (what) => events.dispatchEvent(new Event(what));

// A refusal with the service's message, capitalised; `status` 0 if it did not answer; `wait` in seconds if it said when to
// retry.
export class Refusal extends Error {
  constructor(message, status = 0, wait = null) {
    const said = message.charAt(0).toUpperCase() + message.slice(1);
    super(wait === null || said.includes(`${wait} s`) ? said : `${said} Try again in ${wait} s.`);
    this.status = status;
    this.wait = wait;
  }
}

export const hasKey = () => sessionStorage.getItem(KEY) !== null;

export function forgetKey() {
  sessionStorage.removeItem(KEY);
  tell("key");
}

let askForKey = async () => null;
let asking = null;
let declined = false; // the user was asked for a key and gave none

// `ask(message)` returns a key that the user entered, or null.
export function onLocked(ask) {
  askForKey = ask;
}

async function askPerson(message) {
  const key = await askForKey(message);
  declined = key === null;
  if (declined) return false;
  sessionStorage.setItem(KEY, key);
  tell("key");
  return true;
}

async function unlocked(used, refusal, quiet) {
  if (sessionStorage.getItem(KEY) !== used) return true; // another request got one meanwhile
  if (quiet && declined) return false;
  asking ??= askPerson(used === null ? "" : refusal.message).finally(() => (asking = null));
  return asking;
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

// Raises if a file of a form can no longer be read: the browser then fails as if the service did not answer.
async function refuseChanged(form) {
  const files = form instanceof FormData ? [...form.values()].filter((value) => value instanceof File) : [];
  for (const file of files) {
    try {
      await file.slice(0, 1).arrayBuffer();
    } catch {
      throw new Error(`${file.name} has been changed or removed since it was chosen. Remove it from the query and choose it again.`);
    }
  }
}

// `quiet`: requests the user did not make explicitly do not reopen a dialog that was closed.
async function ask(path, options = {}, quiet = false) {
  for (;;) {
    const key = sessionStorage.getItem(KEY);
    const headers = { ...options.headers, ...(key === null ? {} : { Authorization: `Bearer ${key}` }) };
    let response;
    try {
      response = await fetch(path, { ...options, headers, credentials: "omit" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      await refuseChanged(options.body);
      options.signal?.throwIfAborted();
      throw new Refusal("The service does not answer. Check that it is still running, and try again.");
    }
    if (response.ok) {
      tell("answered");
      return response;
    }
    const refusal = await refusalOf(response);
    options.signal?.throwIfAborted();
    if (response.status !== 401 || !(await unlocked(key, refusal, quiet))) throw refusal;
    options.signal?.throwIfAborted();
  }
}

// For background requests: if the service puts one off (429), it is retried when the service says.
export async function patiently(path, options, quiet = false) {
  for (let left = TRIES; ; left -= 1) {
    try {
      return await ask(path, options, quiet);
    } catch (error) {
      if (error.status !== 429 || left === 1) throw error;
      await pause(Math.min(error.wait ?? 1, LONGEST_WAIT), options.signal);
    }
  }
}

export const json = async (path, options, quiet) => (await ask(path, options, quiet)).json();

export const about = () => json("v1/about");
export const stats = () => json("v1/stats", {}, true);
export const sample = async (count, seed) => (await json(`v1/sample?count=${count}&seed=${seed}`, {}, true)).entries;

export async function image(id, size, signal) {
  return (await patiently(`v1/image?${new URLSearchParams({ id, size })}`, { signal }, true)).blob();
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

// `place`: which image of the query; `kind`: of the maps, `grad-cam` or `rollout`.
export async function attention(query, place, id, kind, signal) {
  const form = new FormData();
  form.append("id", id);
  form.append("maps", kind);
  if (query.entry !== null) form.append("query_id", query.entry.id);
  else {
    form.append("image", query.images[place].file, query.images[place].name);
    form.append("modality", query.modality);
  }
  return (await patiently("v1/attention", { method: "POST", body: form, signal })).json();
}
