// A link as its form holds it: texts as typed, until they are sent. One shape for making and for changing.
import type { Link, LinkInput, Rule } from "./api";
import { completed } from "./api";

export interface Draft {
  url: string;
  alias: string;
  /** "" never, "at" at `expiresAt`, otherwise seconds from now. */
  expiry: string;
  /** As a datetime-local field has it: local time, to the minute. */
  expiresAt: string;
  maxClicks: string;
  password: string;
  removePassword: boolean;
  tags: string;
  note: string;
  redirect: string;
  dedupe: boolean;
  rules: Rule[];
}

export const EMPTY: Draft = {
  url: "",
  alias: "",
  expiry: "",
  expiresAt: "",
  maxClicks: "",
  password: "",
  removePassword: false,
  tags: "",
  note: "",
  redirect: "302",
  dedupe: false,
  rules: [],
};

export const EXPIRIES = [
  { value: "", title: "Never" },
  { value: "3600", title: "In an hour" },
  { value: "86400", title: "In a day" },
  { value: "604800", title: "In 7 days" },
  { value: "2592000", title: "In 30 days" },
  { value: "at", title: "At a time…" },
] as const;

export const REDIRECTS = [
  { value: "302", title: "302 Found" },
  { value: "307", title: "307 Temporary, keeps the method" },
  { value: "301", title: "301 Permanent" },
  { value: "308", title: "308 Permanent, keeps the method" },
] as const;

/** What the form shows for a link that exists. */
export function draftOf(link: Link): Draft {
  return {
    ...EMPTY,
    url: link.url,
    alias: link.code,
    expiry: link.expires_at ? "at" : "",
    expiresAt: link.expires_at ? localMinute(new Date(link.expires_at)) : "",
    maxClicks: link.max_clicks === null ? "" : String(link.max_clicks),
    tags: link.tags.join(", "),
    note: link.note,
    redirect: String(link.redirect),
    rules: structuredClone(link.rules),
  };
}

/** The body that makes a link: only what was set. */
export function creation(draft: Draft): LinkInput {
  const input: LinkInput = { url: completed(draft.url) };
  if (draft.alias.trim()) input.alias = draft.alias.trim();
  if (draft.expiry === "at") input.expires_at = instant(draft.expiresAt);
  else if (draft.expiry) input.ttl_seconds = Number(draft.expiry);
  if (draft.maxClicks) input.max_clicks = Number(draft.maxClicks);
  if (draft.password) input.password = draft.password;
  if (tagsOf(draft).length) input.tags = tagsOf(draft);
  if (draft.note.trim()) input.note = draft.note.trim();
  if (draft.redirect !== EMPTY.redirect) input.redirect = Number(draft.redirect);
  if (draft.dedupe) input.dedupe = true;
  if (draft.rules.length) input.rules = draft.rules;
  return input;
}

/** The body that turns `link` into what the form says: only what differs. */
export function changes(draft: Draft, link: Link): LinkInput {
  const before = draftOf(link);
  const input: LinkInput = {};
  if (draft.url !== before.url) input.url = completed(draft.url);
  if (draft.expiry !== before.expiry || draft.expiresAt !== before.expiresAt) input.expires_at = expiryOf(draft);
  if (draft.maxClicks !== before.maxClicks) input.max_clicks = draft.maxClicks ? Number(draft.maxClicks) : null;
  if (draft.removePassword) input.password = null;
  else if (draft.password) input.password = draft.password;
  if (tagsOf(draft).join() !== link.tags.join()) input.tags = tagsOf(draft);
  if (draft.note !== before.note) input.note = draft.note.trim();
  if (draft.redirect !== before.redirect) input.redirect = Number(draft.redirect);
  if (JSON.stringify(draft.rules) !== JSON.stringify(link.rules)) input.rules = draft.rules;
  return input;
}

function expiryOf(draft: Draft): string | null {
  if (draft.expiry === "") return null;
  if (draft.expiry === "at") return instant(draft.expiresAt);
  return new Date(Date.now() + Number(draft.expiry) * 1000).toISOString();
}

function tagsOf(draft: Draft): string[] {
  return draft.tags
    .split(",")
    .map((tag) => tag.trim())
    .filter(Boolean);
}

function instant(local: string): string {
  const moment = new Date(local);
  return Number.isNaN(moment.getTime()) ? local : moment.toISOString();
}

function localMinute(moment: Date): string {
  const shifted = new Date(moment.getTime() - moment.getTimezoneOffset() * 60_000);
  return shifted.toISOString().slice(0, 16);
}
