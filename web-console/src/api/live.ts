// What moves, once a second, over one WebSocket for the whole console. A page that nobody looks at goes quiet: the
// socket closes when the tab is hidden and opens again, with the history it missed, when it is shown.
import { createSignal } from "solid-js";
import { createStore, produce, reconcile } from "solid-js/store";
import type { LiveFrame, PlatformHistory, PlatformStatus, Vital, Vitals } from "./contracts";
import { ApiError, get, setReachable } from "./http";

export const VITALS: readonly Vital[] = [
  "requests_per_second",
  "p50_ms",
  "p99_ms",
  "errors_per_second",
  "queue_depth",
];
const WINDOW_SECONDS = 15 * 60;
const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 10_000;

/** Columns of one system's last 15 minutes; `at` is in seconds since 1970. */
export type Series = { at: number[] } & Record<Vital, (number | null)[]>;

type Connection = { kind: "opening" } | { kind: "live" } | { kind: "lost"; retryAt: number };

const [status, setStatus] = createStore<{ value: PlatformStatus | null; error: unknown }>({ value: null, error: null });
const [connection, setConnection] = createSignal<Connection>({ kind: "opening" });
const [beat, setBeat] = createSignal(0);
export { connection, status };

const series = new Map<string, Series>();
let stepSeconds = 5;
let secondsInStep = 0;
let socket: WebSocket | null = null;
let retryTimer: number | undefined;
/** Counts what begins and ends: an answer to an older beginning is nobody's. */
let turn = 0;
let retryMs = FIRST_RETRY_MS;

/** The last 15 minutes of `system`; reading it subscribes to the heartbeat. */
export function seriesOf(system: string): Series | undefined {
  beat();
  return series.get(system);
}

/** Begin. Returns what stops it. */
export function startLive(): () => void {
  const follow = () => (document.hidden ? rest() : void refresh());
  document.addEventListener("visibilitychange", follow);
  window.addEventListener("online", retryNow);
  follow();
  return () => {
    document.removeEventListener("visibilitychange", follow);
    window.removeEventListener("online", retryNow);
    rest();
  };
}

export function retryNow(): void {
  retryMs = FIRST_RETRY_MS;
  if (!document.hidden && connection().kind !== "live") void refresh();
}

function rest(): void {
  turn += 1;
  clearTimeout(retryTimer);
  const open = socket;
  socket = null;
  open?.close(1000);
}

async function refresh(): Promise<void> {
  rest();
  const mine = turn;
  try {
    const [now, past] = await Promise.all([
      get<PlatformStatus>("/v1/platform/status"),
      get<PlatformHistory>("/v1/platform/history?minutes=15"),
    ]);
    if (mine !== turn) return;
    setStatus("value", reconcile(now, { key: "name" }));
    setStatus("error", null);
    remember(past);
    listen();
  } catch (error) {
    if (mine !== turn) return;
    setStatus("error", error);
    // A refusal is an answer: asking again will not change it. Everything else may pass.
    if (!(error instanceof ApiError && error.problem.status < 500)) later();
  }
}

function listen(): void {
  if (document.hidden || socket) return;
  const address = new URL("/v1/platform/live", location.href);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  const opened = new WebSocket(address);
  socket = opened;
  opened.addEventListener("open", () => {
    if (socket !== opened) return;
    retryMs = FIRST_RETRY_MS;
    setReachable(true);
    setConnection({ kind: "live" });
  });
  opened.addEventListener("message", (event) => {
    if (socket === opened) apply(JSON.parse(event.data as string) as LiveFrame);
  });
  opened.addEventListener("close", () => {
    if (socket !== opened) return;
    socket = null;
    later();
  });
}

function later(): void {
  if (document.hidden) return;
  clearTimeout(retryTimer);
  // Jitter keeps a room full of consoles from knocking at once when the server comes back.
  const wait = retryMs * (0.75 + Math.random() / 2);
  retryMs = Math.min(LONGEST_RETRY_MS, retryMs * 2);
  setConnection({ kind: "lost", retryAt: Date.now() + wait });
  retryTimer = window.setTimeout(() => void refresh(), wait);
}

function remember(past: PlatformHistory): void {
  stepSeconds = past.step_seconds;
  secondsInStep = 0;
  const from = Date.parse(past.from) / 1000;
  series.clear();
  for (const [name, columns] of Object.entries(past.series)) {
    const length = columns.requests_per_second.length;
    const at = Array.from({ length }, (_, index) => from + index * stepSeconds);
    series.set(name, { at, ...columns });
  }
  setBeat((count) => count + 1);
}

function apply(frame: LiveFrame): void {
  const seconds = Date.parse(frame.at) / 1000;
  secondsInStep += 1;
  setStatus(
    produce((state) => {
      if (state.value) state.value.partial = frame.partial ?? false;
      for (const system of state.value?.systems ?? []) Object.assign(system, frame.systems[system.name]);
      for (const engine of state.value?.engines ?? []) Object.assign(engine, frame.engines[engine.name]);
    }),
  );
  for (const [name, vitals] of Object.entries(frame.systems)) extend(seriesFor(name), seconds, vitals);
  if (secondsInStep >= stepSeconds) secondsInStep = 0;
  setBeat((count) => count + 1);
}

function seriesFor(name: string): Series {
  let found = series.get(name);
  if (!found) {
    found = { at: [], requests_per_second: [], p50_ms: [], p99_ms: [], errors_per_second: [], queue_depth: [] };
    series.set(name, found);
  }
  return found;
}

/** Seconds of one step share a point: their mean, but the worst p99 and the newest queue depth. */
function extend(columns: Series, seconds: number, vitals: Vitals): void {
  const fresh = secondsInStep === 1 || columns.at.length === 0;
  if (fresh) columns.at.push(seconds);
  for (const vital of VITALS) {
    const column = columns[vital];
    const value = vitals[vital] ?? null;
    if (fresh) column.push(value);
    else column[column.length - 1] = merged(vital, column.at(-1) ?? null, value);
  }
  while ((columns.at[0] ?? seconds) < seconds - WINDOW_SECONDS) {
    columns.at.shift();
    for (const vital of VITALS) columns[vital].shift();
  }
}

function merged(vital: Vital, sofar: number | null, value: number | null): number | null {
  if (value === null || sofar === null) return value ?? sofar;
  if (vital === "queue_depth") return value;
  if (vital === "p99_ms") return Math.max(sofar, value);
  return sofar + (value - sofar) / secondsInStep;
}
