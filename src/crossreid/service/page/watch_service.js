// The watch page's requests to the service. Times are seconds, as in events.

import { json, patiently } from "./service.js";

const query = (values) => {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    for (const one of Array.isArray(value) ? value : [value]) if (one !== null && one !== undefined) given.append(name, one);
  }
  return given;
};

const post = (path, body) => json(path, { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });

export const timeline = (since, until, camera, signal) => json(`v1/watch/timeline?${query({ since, until, camera, limit: 5000 })}`, { signal });
export const eventsAfter = (after) => json(`v1/watch/events?${query({ after })}`, {}, true);
export const identities = () => json("v1/watch/identities");
export const identity = (id, signal) => json(`v1/watch/identities/${encodeURIComponent(id)}`, { signal });
export const merge = (into, other) => post("v1/watch/merge", { into, other });
export const split = (id, tracks) => post("v1/watch/split", { identity: id, tracks });
export const request = (number) => json(`v1/watch/requests/${number}`);

export async function crop(track, index, signal) {
  return (await patiently(`v1/watch/crops/${track}?${query({ index })}`, { signal }, true)).blob();
}
