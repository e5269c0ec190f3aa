// What the links API says and takes.
import type { Page } from "../../api/contracts";
import { get, send, withQuery } from "../../api/http";

export type LinkState = "active" | "disabled" | "expired" | "used_up" | "deleted";

export interface Rule {
  when: {
    country?: string[];
    device?: string[];
    language?: string[];
    query?: Record<string, string>;
  };
  targets: { url: string; weight: number }[];
}

export interface Link {
  id: string;
  code: string;
  domain: string;
  short_url: string;
  url: string;
  redirect: number;
  state: LinkState;
  created_at: string;
  updated_at: string;
  /** Sent back with a change, so that nobody's newer change is lost. */
  version: string;
  expires_at: string | null;
  max_clicks: number | null;
  clicks_left: number | null;
  has_password: boolean;
  tags: string[];
  note: string;
  title: string;
  rules: Rule[];
  clicks: number;
}

/** The fields of a link that a person sets; `null` clears one. */
export interface LinkInput {
  url?: string;
  alias?: string;
  redirect?: number;
  expires_at?: string | null;
  ttl_seconds?: number;
  max_clicks?: number | null;
  password?: string | null;
  tags?: string[];
  note?: string;
  rules?: Rule[];
  dedupe?: boolean;
  disabled?: boolean;
  version?: string;
}

export interface Change {
  version: string;
  url: string;
  changed_at: string;
  change: string;
}

export type Dimension = "country" | "referrer" | "device" | "browser" | "os";

export interface Stats {
  from: string;
  to: string;
  interval: string;
  totals: { clicks: number; unique_visitors: number; bots: number };
  series: { at: string; clicks: number }[];
  groups: { value: string; clicks: number }[];
}

export interface Click {
  at: string;
  country: string | null;
  referrer: string | null;
  device: string | null;
  browser: string | null;
  os: string | null;
  bot: boolean;
}

export interface ClicksEvent {
  at: string;
  /** Some of the newest; `counted` says how many there were, bots apart. */
  clicks: Click[];
  counted: number;
  bots: number;
}

export interface Totals {
  links: number;
  clicks: number;
  clicks_today: number;
  top: { code: string; clicks: number }[];
}

export interface Filter {
  q: string;
  tag: string;
  state: string;
}

const PAGE_SIZE = 100;

export const linkPath = (code: string): string => `/v1/links/${encodeURIComponent(code)}`;

export function listLinks(filter: Filter, cursor: string | null, signal: AbortSignal): Promise<Page<Link>> {
  return get<Page<Link>>(withQuery("/v1/links", { ...filter, cursor, limit: PAGE_SIZE }), signal);
}

export const createLink = (input: LinkInput) => send<Link>("POST", "/v1/links", input);
export const changeLink = (code: string, input: LinkInput) => send<Link>("PATCH", linkPath(code), input);
export const deleteLink = (code: string) => send<null>("DELETE", linkPath(code));
export const restoreLink = (code: string) => send<Link>("POST", `${linkPath(code)}/restore`);

/** `https://` in front of what looks like a bare host: people paste "example.com/page". */
export function completed(url: string): string {
  const text = url.trim();
  return /^[\w-]+(\.[\w-]+)+(:\d+)?([/?#]|$)/.test(text) ? `https://${text}` : text;
}

/** An address without the parts that everyone has, for lists. */
export function shortened(url: string): string {
  return url.replace(/^https?:\/\//, "").replace(/\/$/, "");
}
