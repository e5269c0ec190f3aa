// The same news by plain requests, for where WebSockets are blocked: the open conversation by a long poll, the others
// by looking at the list every few seconds. Nothing is missed by it, for it goes on from the same sequences as the
// line; who is writing is not told here.
import { ApiError } from "../../api/http";
import type { Api, Event, Listed } from "./api";
import type { Notice } from "./line";

const ROUND_MS = 4000;
const POLL_SECONDS = 20;
const LIST = 100;
const MOST_LOOKED_AT = 50;

interface Listener {
  onNotice: (notice: Notice) => void;
  /** The server cannot be reached this way either. */
  onLost: () => void;
}

export class Detour {
  readonly #api: Api;
  readonly #listener: Listener;
  /** Up to where this window has each conversation that it follows. */
  readonly #after = new Map<string, number>();
  readonly #known = new Set<string>();
  readonly #ending = new AbortController();
  #polling = new AbortController();
  #open: string | null = null;
  #users: string[] = [];
  #round: number | undefined;

  constructor(api: Api, open: string | null, listener: Listener) {
    this.#api = api;
    this.#listener = listener;
    this.#round = window.setTimeout(() => void this.#rounds(), ROUND_MS);
    this.focus(open);
  }

  close(): void {
    this.#ending.abort();
    this.#polling.abort();
    clearTimeout(this.#round);
  }

  /** This conversation is on the screen: it gets the long poll. */
  focus(conversation: string | null): void {
    this.#open = conversation;
    this.#polling.abort();
    this.#polling = new AbortController();
    if (conversation !== null && !this.#ending.signal.aborted) void this.#poll(conversation, this.#polling.signal);
  }

  /** What one would say on the line. */
  say(request: Record<string, unknown>): void {
    const { op, conversation, seq, after, users } = request as { op: string; conversation: string; seq: number; after: number; users: string[] };
    if (op === "follow") {
      this.#after.set(conversation, after);
      this.#known.add(conversation);
      if (conversation === this.#open) this.focus(conversation);
    } else if (op === "unfollow") this.#after.delete(conversation);
    else if (op === "received") this.#try(this.#api.report(conversation, { delivered_seq: seq, device: "console" }));
    else if (op === "read") this.#try(this.#api.report(conversation, { read_seq: seq }));
    else if (op === "typing") this.#try(this.#api.typing(conversation));
    else if (op === "look") {
      this.#users = users.slice(0, MOST_LOOKED_AT);
      void this.#guard(() => this.#look());
    }
  }

  // -- the open conversation --------------------------------------------------------------------

  async #poll(conversation: string, signal: AbortSignal): Promise<void> {
    while (!signal.aborted && this.#after.has(conversation)) {
      if (!(await this.#guard(() => this.#read(conversation, POLL_SECONDS, signal)))) return;
    }
  }

  async #read(conversation: string, wait: number, signal: AbortSignal): Promise<boolean> {
    const after = this.#after.get(conversation) ?? 0;
    const page = await this.#api.poll(conversation, after, wait, signal).catch((problem: unknown) => {
      if (problem instanceof ApiError && (problem.problem.status === 403 || problem.problem.status === 404)) {
        this.#after.delete(conversation);
        this.#listener.onNotice({ type: "error", ref: conversation, error: { detail: problem.message, code: problem.problem.code } });
        return { items: [], next_cursor: null };
      }
      throw problem;
    });
    if (signal.aborted || !this.#after.has(conversation)) return false;
    this.#after.set(conversation, Math.max(Number(page.next_cursor ?? after), this.#after.get(conversation) ?? 0));
    for (const event of page.items) this.#listener.onNotice(event satisfies Event);
    return page.items.length > 0;
  }

  // -- everything else --------------------------------------------------------------------------

  async #rounds(): Promise<void> {
    if (!(await this.#guard(() => this.#look())) || !(await this.#guard(() => this.#list()))) return;
    this.#round = window.setTimeout(() => void this.#rounds(), ROUND_MS);
  }

  async #list(): Promise<void> {
    const page = await this.#api.conversations(null, LIST, this.#ending.signal);
    for (const { conversation, last_seq } of page.items satisfies Listed[]) {
      const after = this.#after.get(conversation.id);
      if (after === undefined) {
        if (!this.#known.has(conversation.id)) this.#listener.onNotice({ type: "joined", conversation: conversation.id });
        this.#known.add(conversation.id);
      } else if (last_seq > after && conversation.id !== this.#open) {
        while (await this.#read(conversation.id, 0, this.#ending.signal));
      }
    }
    if (this.#open === null || !this.#after.has(this.#open)) return;
    const conversation = this.#open;
    const { items } = await this.#api.receipts(conversation, null);
    if (!this.#ending.signal.aborted) this.#listener.onNotice({ type: "receipts", conversation, items });
  }

  async #look(): Promise<void> {
    if (!this.#users.length) return;
    const items = await this.#api.presence(this.#users, this.#ending.signal);
    if (!this.#ending.signal.aborted) this.#listener.onNotice({ type: "presence", items });
  }

  /** False if there is no going on: it was ended, or the server is away. What it refuses is not asked again soon. */
  async #guard(work: () => Promise<unknown>): Promise<boolean> {
    try {
      await work();
      return !this.#ending.signal.aborted;
    } catch (problem) {
      if (this.#ending.signal.aborted) return false;
      if (problem instanceof DOMException && problem.name === "AbortError") return true;
      if (problem instanceof ApiError && problem.problem.status < 500) {
        await new Promise((resolve) => setTimeout(resolve, (problem.retryAfterSeconds ?? ROUND_MS / 1000) * 1000));
        return !this.#ending.signal.aborted;
      }
      this.#listener.onLost();
      return false;
    }
  }

  #try(work: Promise<unknown>): void {
    void this.#guard(() => work);
  }
}
