// How far the members of one conversation are, as far as this window was told: two watermarks each, which only rise.
import { type Accessor, createMemo, createSignal, type Setter } from "solid-js";
import type { Api, Receipt } from "./api";

export interface Seen {
  others: number;
  delivered: number;
  read: number;
}

const MOST_READ = 10_000;

export class Marks {
  readonly #room: string;
  readonly #api: Api;
  readonly #marks = new Map<string, Receipt>();
  readonly #changed: Accessor<number>;
  readonly #change: Setter<number>;
  /** Of the others, the furthest first. */
  readonly #descending: Accessor<{ delivered: Float64Array; read: Float64Array }>;

  constructor(room: string, api: Api) {
    this.#room = room;
    this.#api = api;
    [this.#changed, this.#change] = createSignal(0);
    this.#descending = createMemo(() => {
      this.#changed();
      const others = [...this.#marks.values()].filter((mark) => mark.user !== this.#api.user);
      const descending = (pick: (mark: Receipt) => number) => Float64Array.from(others, pick).sort().reverse();
      return { delivered: descending((mark) => mark.delivered_seq), read: descending((mark) => mark.read_seq) };
    });
  }

  /** How many of the others have it, how many have read it. */
  seenBy(seq: number): Seen {
    const { delivered, read } = this.#descending();
    const upTo = (marks: Float64Array) => {
      const first = marks.findIndex((mark) => mark < seq);
      return first < 0 ? marks.length : first;
    };
    return { others: read.length, delivered: upTo(delivered), read: upTo(read) };
  }

  members(): string[] {
    this.#changed();
    return [...this.#marks.keys()];
  }

  /** Up to where somebody has read. */
  readBy(user: string): number {
    this.#changed();
    return this.#marks.get(user)?.read_seq ?? 0;
  }

  has(user: string): boolean {
    return this.#marks.has(user);
  }

  take(items: Receipt[]): void {
    for (const { user, delivered_seq, read_seq } of items) {
      const known = this.#marks.get(user);
      this.#marks.set(user, {
        user,
        delivered_seq: Math.max(delivered_seq, known?.delivered_seq ?? 0),
        read_seq: Math.max(read_seq, known?.read_seq ?? 0),
      });
    }
    this.#change((count) => count + 1);
  }

  /** Somebody has gone; whether they were known here. */
  drop(user: string): boolean {
    const known = this.#marks.delete(user);
    if (known) this.#change((count) => count + 1);
    return known;
  }

  async readAll(): Promise<void> {
    try {
      let cursor: string | null = null;
      do {
        const page: { items: Receipt[]; next_cursor: string | null } = await this.#api.receipts(this.#room, cursor);
        this.take(page.items);
        cursor = page.next_cursor;
      } while (cursor !== null && this.#marks.size < MOST_READ);
    } catch {
      // Receipts are a courtesy: the next report or the next reconnection brings them.
    }
  }
}
