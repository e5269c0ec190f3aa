// What the limiter's API says and takes.
import type { Page } from "../../api/contracts";
import { get, send, withQuery } from "../../api/http";

export type Algorithm = "token_bucket" | "fixed_window" | "sliding_log" | "sliding_counter" | "concurrency";

export interface Rule {
  name: string;
  limit: number | null;
  period_seconds: number;
  algorithm: Algorithm;
  burst?: number | null;
  calendar?: "minute" | "hour" | "day" | "week" | "month" | "year" | null;
  zone?: string;
  mode: "exact" | "leased" | "local";
  failure: "open" | "closed" | "local";
  action: "deny" | "delay" | "flag";
  penalty_seconds?: number;
  reach?: "site" | "home";
  by?: string[];
  shadow: boolean;
  record: boolean;
  note: string;
}

export interface StoredRule {
  name: string;
  rule: Rule;
  /** Sent back with a change, so that nobody's newer change is lost. */
  version: string;
  updated_at: string;
}

export interface Decision {
  allowed: boolean;
  rule: string;
  limit: number | null;
  remaining: number;
  reset_seconds: number;
  retry_after_seconds: number | null;
  over_limit: boolean;
  delay_seconds: number;
  degraded: boolean;
}

export interface Replayed {
  rule: string;
  allowed: number;
  denied: number;
  admitted: boolean[] | null;
}

export interface Traffic {
  step_seconds: number;
  series: { at: string; allowed: number; denied: number }[];
}

export interface Offender {
  rule: string;
  key: string;
  denied: number;
}

export const ALGORITHMS: readonly { value: Algorithm; title: string }[] = [
  { value: "token_bucket", title: "Token bucket" },
  { value: "fixed_window", title: "Fixed window" },
  { value: "sliding_counter", title: "Sliding counter" },
  { value: "sliding_log", title: "Sliding log" },
];
export const titleOf = (algorithm: Algorithm): string =>
  ALGORITHMS.find((each) => each.value === algorithm)?.title ?? "Places at once";

const rulePath = (name: string): string => `/v1/limiter/rules/${encodeURIComponent(name)}`;

export async function listRules(words: string, signal: AbortSignal): Promise<Page<StoredRule>> {
  const page = await get<Page<StoredRule>>("/v1/limiter/rules", signal);
  const wanted = words.toLowerCase();
  return { ...page, items: page.items.filter((each) => `${each.name} ${each.rule.note}`.toLowerCase().includes(wanted)) };
}

export const putRule = (name: string, rule: Partial<Rule>, version?: string) =>
  send<StoredRule>("PUT", rulePath(name), { rule, ...(version === undefined ? {} : { version }) });
export const deleteRule = (name: string) => send<null>("DELETE", rulePath(name));
export const check = (rule: string | Partial<Rule>, key: string, cost: number) =>
  send<Decision>("POST", "/v1/limiter/check", { rule, key, cost });
export const replay = (rules: Partial<Rule>[], events: { at_ms: number }[]) =>
  send<{ events: number; results: Replayed[] }>("POST", "/v1/limiter/replay", { rules, events });
export const readTraffic = (signal?: AbortSignal) => get<Traffic>(withQuery("/v1/limiter/traffic", { minutes: 15 }), signal);
export const readTop = (signal?: AbortSignal) => get<{ items: Offender[] }>(withQuery("/v1/limiter/top", { limit: 8 }), signal);
