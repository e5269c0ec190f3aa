// Numbers and moments as people read them. English, with digits that line up; the exact moment is always at hand.
import { createSignal } from "solid-js";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const dayAndTime = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "medium" });
const shortDay = new Intl.DateTimeFormat("en", { day: "numeric", month: "short", year: "numeric" });
const regions = new Intl.DisplayNames("en", { type: "region", fallback: "code" });

export const NONE = "–";
const MINUTE = 60;
const HOUR = 3600;
const DAY = 86_400;

export function count(value: number | null | undefined): string {
  if (value === null || value === undefined) return NONE;
  return Math.abs(value) >= 1_000_000 ? compact.format(value) : whole.format(value);
}

/** Something a second: small values keep a decimal, because 0.3 is not nothing. */
export function rate(value: number | null | undefined): string {
  if (value === null || value === undefined) return NONE;
  if (value === 0) return "0";
  if (value < 0.05) return "<0.1";
  return value < 10 ? tenth.format(value) : count(value);
}

export function milliseconds(value: number | null | undefined): string {
  if (value === null || value === undefined) return NONE;
  if (value === 0) return "0 ms";
  if (value < 0.001) return "<1 µs";
  if (value < 0.1) return `${Math.round(value * 1000)} µs`;
  if (value < 1) return `${value.toFixed(2)} ms`;
  if (value < 10) return `${value.toFixed(1)} ms`;
  return value < 1000 ? `${whole.format(value)} ms` : `${tenth.format(value / 1000)} s`;
}

export function bytes(value: number): string {
  if (value < 1000) return `${value} B`;
  return value < 1_000_000 ? `${tenth.format(value / 1000)} kB` : `${tenth.format(value / 1_000_000)} MB`;
}

export function duration(seconds: number): string {
  if (seconds < 1) return "less than a second";
  if (seconds < MINUTE) return `${Math.round(seconds)} s`;
  if (seconds < HOUR) return parts(Math.floor(seconds / MINUTE), "min", Math.round(seconds % MINUTE), "s");
  if (seconds < DAY) return parts(Math.floor(seconds / HOUR), "h", Math.round((seconds % HOUR) / MINUTE), "min");
  return parts(Math.floor(seconds / DAY), "d", Math.round((seconds % DAY) / HOUR), "h");
}

/** "5 min" rather than "5 min 0 s". */
function parts(most: number, unit: string, rest: number, small: string): string {
  return rest ? `${most} ${unit} ${rest} ${small}` : `${most} ${unit}`;
}

/** "3 min ago", "in 2 h"; further than a month away, the day. */
export function relative(moment: string, now: number): string {
  const seconds = (Date.parse(moment) - now) / 1000;
  const size = Math.abs(seconds);
  if (Number.isNaN(size)) return moment;
  if (size < 5) return "just now";
  if (size > 30 * DAY) return shortDay.format(new Date(moment));
  let text = `${Math.round(size)} s`;
  if (size >= DAY) text = `${Math.round(size / DAY)} d`;
  else if (size >= HOUR) text = `${Math.round(size / HOUR)} h`;
  else if (size >= MINUTE) text = `${Math.round(size / MINUTE)} min`;
  return seconds < 0 ? `${text} ago` : `in ${text}`;
}

/** The moment on this machine's clock, and the same in UTC to the millisecond. */
export function exact(moment: string): string {
  return `${dayAndTime.format(new Date(moment))} (${moment})`;
}

export function country(code: string): string {
  return /^[A-Z]{2}$/.test(code) ? (regions.of(code) ?? code) : code;
}

export function plural(amount: number, one: string, many = `${one}s`): string {
  return `${count(amount)} ${amount === 1 ? one : many}`;
}

const [clock, setClock] = createSignal(Date.now());
setInterval(() => {
  if (!document.hidden) setClock(Date.now());
}, 5000);
document.addEventListener("visibilitychange", () => !document.hidden && setClock(Date.now()));
/** Now, in steps of five seconds, for texts that say how long ago something was. */
export { clock };
