// What a conversation consists of, as it is shown: messages, and notes about who came and went.
import { createStore, type SetStoreFunction } from "solid-js/store";
import { duration } from "../../format";
import type { Attachment, Event, Reaction } from "./api";

export interface Shown {
  kind: "message" | "note";
  seq: number | null;
  clientId: string;
  author: string;
  at: string;
  text: string;
  thread: number | null;
  edited: boolean;
  deleted: boolean;
  reactions: Reaction[];
  replies: number;
  attachments: Attachment[];
  /** `waiting`: not acknowledged yet. `failed`: refused; it waits for the reader's decision. */
  sending: "no" | "waiting" | "failed";
  problem: unknown;
}

/** One entry keeps its identity from the moment it is typed, and with it its element and the focus. */
export interface Entry {
  readonly is: Shown;
  readonly set: SetStoreFunction<Shown>;
  /** Counts and reactions are as of this sequence; news up to it are in them already. */
  asOf: number;
}

export const BLANK: Shown = {
  kind: "message", seq: null, clientId: "", author: "", at: "", text: "", thread: null, edited: false, deleted: false,
  reactions: [], replies: 0, attachments: [], sending: "no", problem: null,
};

export function entryOf(event: Event, asOf: number): Entry {
  const [is, set] = createStore<Shown>(shownOf(event));
  return { is, set, asOf };
}

export function shownOf(event: Event): Shown {
  const note = event.type !== "message";
  return {
    ...BLANK,
    kind: note ? "note" : "message",
    seq: event.seq,
    clientId: event.client_msg_id ?? "",
    author: event.author,
    at: event.at,
    text: note ? noteOf(event) : (event.text ?? dataOf(event.data)),
    thread: event.thread ?? null,
    edited: event.edited ?? false,
    deleted: event.deleted ?? false,
    reactions: event.reactions ?? [],
    replies: event.replies ?? 0,
    attachments: event.attachments ?? [],
  };
}

function dataOf(data: unknown): string {
  return data === undefined ? "" : JSON.stringify(data);
}

function noteOf(event: Event): string {
  const { author, user = "", change } = event;
  if (event.type === "conversation") {
    const { name, slow_mode_seconds: slow } = event;
    const named = name === undefined ? "" : name ? `named this “${name}”` : "took this conversation's name away";
    const slowed = slow === undefined ? "" : slow ? `set slow mode to one message every ${duration(slow)}` : "ended slow mode";
    return `${author} ${[named, slowed].filter(Boolean).join(" and ")}`;
  }
  if (change === "joined") return event.seq === 1 ? `${user} began this conversation` : author === user ? `${user} joined` : `${author} took ${user} in`;
  if (change === "left") return `${user} left`;
  if (change === "removed") return `${author} took ${user} out`;
  if (change === "banned") return `${author} banned ${user}`;
  if (change === "unbanned") return `${author} lifted the ban on ${user}`;
  return `${author} made ${user} ${event.role === "member" ? "a member" : event.role === "owner" ? "an owner" : "a moderator"}`;
}

/** The same news twice changes nothing. */
export function reacted(known: Reaction[], emoji: string, user: string, added: boolean): Reaction[] {
  const before = known.find((one) => one.emoji === emoji);
  if (added === Boolean(before?.users.includes(user))) return known;
  if (!before) return [...known, { emoji, count: 1, users: [user] }];
  const users = added ? [...before.users, user] : before.users.filter((one) => one !== user);
  const count = before.count + (added ? 1 : -1);
  return known.map((one) => (one === before ? { emoji, count, users } : one)).filter((one) => one.count > 0);
}
