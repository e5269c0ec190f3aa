// The chat API as types and calls. The console's session acts for the tenant; `Chat-User` says for which user.
import type { Page } from "../../api/contracts";
import { ApiError, asProblem, type Call, type Method, OfflineError, type Options, parsed, send, withQuery } from "../../api/http";

export type Role = "owner" | "moderator" | "member";

export interface Conversation {
  id: string;
  kind: "direct" | "group" | "channel";
  name: string;
  channel: string | null;
  access: "private" | "open";
  history: "all" | "joined";
  slow_mode_seconds: number;
  members: number;
  created_at: string;
  created_by: string;
}

export interface Listed {
  conversation: Conversation;
  /** With whom a direct conversation is. */
  peer: string | null;
  role: Role;
  last_seq: number;
  read_seq: number;
  unread: number;
}

export interface Attachment {
  media_id: string;
  name?: string;
  content_type?: string;
  size_bytes?: number;
  width?: number;
  height?: number;
}

export interface Reaction {
  emoji: string;
  count: number;
  users: string[];
}

/** An entry of a conversation; what is not there is left out. */
export interface Event {
  type: "message" | "edited" | "deleted" | "reaction" | "member" | "conversation";
  conversation: string;
  seq: number;
  id: string;
  author: string;
  at: string;
  text?: string;
  data?: unknown;
  reply_to?: number;
  thread?: number;
  mentions?: string[];
  attachments?: Attachment[];
  edited?: boolean;
  deleted?: boolean;
  reactions?: Reaction[];
  replies?: number;
  target?: number;
  message?: Event;
  emoji?: string;
  added?: boolean;
  user?: string;
  change?: "joined" | "left" | "removed" | "banned" | "unbanned" | "role";
  role?: Role;
  name?: string;
  slow_mode_seconds?: number;
  client_msg_id?: string;
}

export interface Receipt {
  user: string;
  delivered_seq: number;
  read_seq: number;
}

export interface Presence {
  user: string;
  online: boolean;
}

export interface Member extends Receipt {
  role: Role;
  joined_at: string;
}

export interface Ban {
  user: string;
  by: string;
  reason: string;
}

export interface Medium {
  id: string;
  name: string;
  content_type: string;
  size_bytes: number;
  width: number;
  height: number;
  has_thumbnail: boolean;
}

export interface Draft {
  text: string;
  client_msg_id: string;
  thread?: number;
  mentions?: string[];
  attachments?: string[];
}

export interface Sent {
  message_id: string;
  seq: number;
  existed?: boolean;
}

const BASE = "/v1/chat/conversations";
const LINK_LIFE_MS = 50 * 60_000;

/** What one user can ask for. */
export class Api {
  #links = new Map<string, { at: number; url: Promise<string> }>();

  constructor(readonly user: string) {}

  ask<Answer>(method: Method, path: string, body?: unknown, options: Options = {}): Promise<{ data: Answer; call: Call }> {
    return send<Answer>(method, path, body, { ...options, headers: { "Chat-User": encodeURIComponent(this.user) } });
  }

  async #read<Answer>(path: string, signal?: AbortSignal): Promise<Answer> {
    return (await this.ask<Answer>("GET", path, undefined, { signal })).data;
  }

  conversations(cursor: string | null, limit: number, signal?: AbortSignal): Promise<Page<Listed>> {
    return this.#read(withQuery(BASE, { cursor, limit }), signal);
  }

  create(wanted: { kind: "direct" | "group"; name?: string; members: string[] }): Promise<{ data: Conversation; call: Call }> {
    return this.ask("POST", BASE, wanted);
  }

  async history(id: string, before: number | null, limit: number): Promise<Event[]> {
    return (await this.#read<{ items: Event[] }>(withQuery(`${BASE}/${id}/messages`, { before, limit }))).items;
  }

  async message(id: string, seq: number): Promise<Event> {
    return this.#read(`${BASE}/${id}/messages/${seq}`);
  }

  async thread(id: string, seq: number, after: number, limit: number): Promise<Event[]> {
    return (await this.#read<{ items: Event[] }>(withQuery(`${BASE}/${id}/messages/${seq}/thread`, { after, limit }))).items;
  }

  send(id: string, draft: Draft): Promise<{ data: Sent; call: Call }> {
    return this.ask("POST", `${BASE}/${id}/messages`, draft);
  }

  edit(id: string, seq: number, text: string): Promise<{ data: Sent; call: Call }> {
    return this.ask("PATCH", `${BASE}/${id}/messages/${seq}`, { text });
  }

  remove(id: string, seq: number): Promise<{ data: Sent; call: Call }> {
    return this.ask("DELETE", `${BASE}/${id}/messages/${seq}`);
  }

  react(id: string, seq: number, emoji: string, added: boolean): Promise<{ data: Sent; call: Call }> {
    return this.ask("PUT", `${BASE}/${id}/messages/${seq}/reactions`, { emoji, added });
  }

  /** Events after a sequence; waits so long for the first of them. */
  poll(id: string, after: number, wait: number, signal: AbortSignal): Promise<Page<Event>> {
    return this.#read(withQuery(`${BASE}/${id}/poll`, { after, wait }), signal);
  }

  report(id: string, marks: { delivered_seq?: number; read_seq?: number; device?: string }): Promise<{ call: Call }> {
    return this.ask("PUT", `${BASE}/${id}/receipts`, marks);
  }

  typing(id: string): Promise<{ call: Call }> {
    return this.ask("POST", `${BASE}/${id}/typing`);
  }

  async presence(users: string[], signal?: AbortSignal): Promise<Presence[]> {
    const query = new URLSearchParams(users.map((user) => ["user", user]));
    return (await this.#read<{ items: Presence[] }>(`/v1/chat/presence?${query}`, signal)).items;
  }

  settle(id: string, changed: { name?: string; slow_mode_seconds?: number }): Promise<{ data: Conversation; call: Call }> {
    return this.ask("PATCH", `${BASE}/${id}`, changed);
  }

  receipts(id: string, cursor: string | null): Promise<Page<Receipt>> {
    return this.#read(withQuery(`${BASE}/${id}/receipts`, { cursor, limit: 1000 }));
  }

  members(id: string, cursor: string | null, signal?: AbortSignal): Promise<Page<Member>> {
    return this.#read(withQuery(`${BASE}/${id}/members`, { cursor, limit: 100 }), signal);
  }

  add(id: string, user: string): Promise<{ data: Sent; call: Call }> {
    return this.ask("POST", `${BASE}/${id}/members`, { user });
  }

  giveRole(id: string, user: string, role: Role): Promise<{ data: Sent; call: Call }> {
    return this.ask("PATCH", `${BASE}/${id}/members/${encodeURIComponent(user)}`, { user, role });
  }

  putOut(id: string, user: string): Promise<{ data: Sent; call: Call }> {
    return this.ask("DELETE", `${BASE}/${id}/members/${encodeURIComponent(user)}`);
  }

  leave(id: string): Promise<{ data: Sent; call: Call }> {
    return this.ask("POST", `${BASE}/${id}/leave`);
  }

  ban(id: string, user: string): Promise<{ data: Sent; call: Call }> {
    return this.ask("POST", `${BASE}/${id}/bans`, { user });
  }

  unban(id: string, user: string): Promise<{ data: Sent; call: Call }> {
    return this.ask("DELETE", `${BASE}/${id}/bans/${encodeURIComponent(user)}`);
  }

  async bans(id: string): Promise<Ban[]> {
    return (await this.#read<{ items: Ban[] }>(`${BASE}/${id}/bans`)).items;
  }

  search(q: string, cursor: string | null, signal?: AbortSignal): Promise<Page<Event>> {
    return this.#read(withQuery("/v1/chat/search", { q, cursor, limit: 20 }), signal);
  }

  /** Where a file can be had for a while; asked for once, however often it is shown. */
  link(id: string, medium: string, thumbnail: boolean): Promise<string> {
    const key = `${id}/${medium}/${thumbnail}`;
    const known = this.#links.get(key);
    if (known && Date.now() - known.at < LINK_LIFE_MS) return known.url;
    const url = this.#read<{ url: string }>(withQuery(`${BASE}/${id}/media/${medium}`, { thumbnail: thumbnail ? "true" : null })).then(
      (found) => found.url,
    );
    url.catch(() => this.#links.delete(key));
    this.#links.set(key, { at: Date.now(), url });
    return url;
  }

  /** Upload with its progress, which `fetch` does not tell. */
  upload(id: string, file: File, onProgress: (share: number) => void, signal: AbortSignal): Promise<Medium> {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      const path = withQuery(`${BASE}/${id}/media`, { name: file.name || "picture" });
      request.open("POST", path);
      request.setRequestHeader("Chat-User", encodeURIComponent(this.user));
      request.setRequestHeader("Content-Type", file.type || "application/octet-stream");
      request.upload.addEventListener("progress", (event) => {
        if (event.lengthComputable) onProgress(event.loaded / event.total);
      });
      request.addEventListener("load", () => {
        const answer = parsed(request.responseText);
        if (request.status < 300) return resolve(answer as Medium);
        const call: Call = { method: "POST", path, status: request.status, milliseconds: 0, response: answer };
        const response = new Response(null, { status: request.status, statusText: request.statusText });
        reject(new ApiError(asProblem(answer, response), call, null));
      });
      request.addEventListener("error", () => reject(new OfflineError()));
      request.addEventListener("abort", () => reject(new DOMException("The upload was stopped.", "AbortError")));
      signal.addEventListener("abort", () => request.abort());
      request.send(file);
    });
  }
}

/** What a conversation is called by somebody in it. */
export function titleOf(listed: Pick<Listed, "conversation" | "peer">): string {
  const { conversation, peer } = listed;
  if (conversation.kind === "direct") return peer ?? "Somebody who left";
  return conversation.name || conversation.channel || `Group of ${conversation.created_by}`;
}
