// Times of a watch: seconds since 1970 UTC, shown in this computer's time zone, or seconds of a video, shown as they are.

const FILM = 1e8; // seconds; times before 1973 belong to a video without a start time
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800];
const two = (number) => String(number).padStart(2, "0");

export const isFilm = (seconds) => seconds < FILM;

const clock = (seconds) => `${Math.floor(seconds / 3600)}:${two(Math.floor(seconds / 60) % 60)}:${two(Math.floor(seconds) % 60)}`;

export function day(seconds) {
  const at = new Date(1000 * seconds);
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

// The time of day, or within the video.
export function hour(seconds) {
  if (isFilm(seconds)) return seconds < 0 ? `\u2212${clock(-seconds)}` : clock(seconds);
  const at = new Date(1000 * seconds);
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

export const moment = (seconds) => (isFilm(seconds) ? hour(seconds) : `${day(seconds)} ${hour(seconds)}`);

export function between(first, last) {
  if (hour(first) === hour(last) && last - first < 1) return moment(first);
  const same = isFilm(first) || day(first) === day(last);
  return `${moment(first)} \u2013 ${same ? hour(last) : moment(last)}`;
}

export function lasting(seconds) {
  if (seconds < 1) return "under a second";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

// Round times from `from` to `to`, at most so many: [seconds, text] each.
export function ticks(from, to, most) {
  const step = STEPS.find((one) => (to - from) / one <= most) ?? 604_800 * Math.ceil((to - from) / 604_800 / most);
  const zone = isFilm(from) ? 0 : -60 * new Date(1000 * from).getTimezoneOffset();
  const made = [];
  for (let at = Math.ceil((from + zone) / step) * step - zone; at <= to; at += step) {
    const text = step >= 86_400 && !isFilm(at) ? day(at).slice(5) : hour(at);
    made.push([at, step >= 60 ? text.replace(/:00$/, "") : text]);
  }
  return made;
}

// The text of a time field, and the time entered into it: null if empty. Raises for an invalid time.
export function fieldText(seconds, film) {
  return film ? hour(seconds) : `${day(seconds)}T${hour(seconds)}`;
}

export function fieldSeconds(text, film) {
  if (text.trim() === "") return null;
  if (!film) {
    const at = new Date(text).getTime() / 1000;
    if (Number.isFinite(at)) return at;
  } else if (/^(\d+:)?(\d+:)?\d+(\.\d+)?$/.test(text.trim())) {
    return text.trim().split(":").reduce((sum, part) => 60 * sum + Number(part), 0);
  }
  throw new Error(film ? "Write a time of a video as h:mm:ss." : "A time is incomplete.");
}
