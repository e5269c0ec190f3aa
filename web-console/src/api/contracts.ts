// What the platform's API says, as types. Ids are strings, times are RFC 3339 in UTC, lists come in pages.

export interface Page<Item> {
  items: Item[];
  next_cursor: string | null;
}

/** RFC 9457, with what Twelvefold adds. */
export interface Problem {
  title: string;
  status: number;
  detail: string;
  code: string;
  field?: string | null;
  hint?: string | null;
  request_id?: string | null;
}

export interface Session {
  tenant: { id: string; name: string };
  key: { id: string; name: string };
  scopes: string[];
  tier: string;
}

export type Group = "serve" | "talk" | "place" | "protect" | "compute";

/** What moves: the same five numbers for every system. */
export interface Vitals {
  requests_per_second: number | null;
  p50_ms: number | null;
  p99_ms: number | null;
  errors_per_second: number | null;
  queue_depth: number | null;
}

/** Figures may lack those of other processes, while what gathers them is away. */
interface MaybePartial {
  partial?: boolean;
}

export type Vital = keyof Vitals;

export interface SystemStatus extends Vitals {
  name: string;
  title: string;
  group: Group;
  promise: string;
  running: boolean;
  /** Empty for a system that this version does not have yet. */
  start_command: string;
}

export interface EngineStatus {
  name: string;
  kind: "embedded" | "external";
  healthy: boolean;
  detail: string | null;
  latency_ms: number | null;
}

export interface PlatformStatus extends MaybePartial {
  version: string;
  started_at: string;
  /** Empty unless the reader's tenant runs the platform. */
  data_dir: string;
  systems: SystemStatus[];
  engines: EngineStatus[];
}

export interface PlatformHistory extends MaybePartial {
  step_seconds: number;
  from: string;
  series: Record<string, Record<Vital, (number | null)[]>>;
}

/** One frame of the live socket, once a second. */
export interface LiveFrame extends MaybePartial {
  at: string;
  systems: Record<string, Vitals>;
  engines: Record<string, { healthy: boolean; latency_ms: number | null; detail: string | null }>;
}

export interface Guarantee {
  promise: string;
  /** `links.counted-clicks`: the drill that proves it. */
  drill: string | null;
  last_run: LastRun | null;
}

/** What came of a drill, or of the oldest of several, when it was last recorded. */
export interface LastRun {
  at: string;
  passed: boolean;
  machine: string;
}

export interface TradeOff {
  decision: string;
  option_a: string;
  option_b: string;
  /** "a" or "b", or the words of the option that was chosen. */
  choice: string;
  why: string;
  cost: string;
}

/** A system's blueprint: the same card that the guide and the documents read. */
export interface Card {
  name: string;
  title: string;
  group: Group;
  promise: string;
  pitch: string;
  guarantees: Guarantee[];
  trade_offs: TradeOff[];
  connect: { client: string; how: string }[];
}

export interface ApiKey {
  id: string;
  name: string;
  /** The part of the key that may be seen. */
  prefix: string;
  scopes: string[];
  tier: string;
  created_at: string;
  expires_at: string | null;
  last_used_at: string | null;
  revoked_at: string | null;
}
