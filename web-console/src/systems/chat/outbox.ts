// What is being said. It is shown at once and sent until it is acknowledged or refused, one at a time and in order.
// Its name (`client_msg_id`) is given before the first attempt, so that sending it again after a break, when nobody
// knows whether it arrived, is the same message.
import { type Accessor, createSignal, type Setter } from "solid-js";
import { createStore } from "solid-js/store";
import { ApiError, type Call } from "../../api/http";
import type { Api, Attachment, Draft } from "./api";
import { BLANK, type Entry, type Shown } from "./entry";

/** What an outbox needs of what is around it. */
export interface Around {
  api: Api;
  /** Something waits to be sent, or does no longer. */
  onOutbox: () => void;
  onCall: (call: Call) => void;
}

const RETRY_MS = 1500;

export class Outbox {
  readonly pending: Accessor<Entry[]>;
  readonly #setPending: Setter<Entry[]>;
  readonly #room: string;
  readonly #around: Around;
  readonly #acknowledged: (entry: Entry, seq: number) => void;
  readonly #drafts = new Map<string, Draft>();
  #delivering = false;
  #wake: (() => void) | null = null;

  constructor(room: string, around: Around, acknowledged: (entry: Entry, seq: number) => void) {
    this.#room = room;
    this.#around = around;
    this.#acknowledged = acknowledged;
    [this.pending, this.#setPending] = createSignal<Entry[]>([]);
  }

  say(draft: Draft, attachments: Attachment[], at: string): void {
    const [is, set] = createStore<Shown>({
      ...BLANK, clientId: draft.client_msg_id, author: this.#around.api.user, at, text: draft.text,
      thread: draft.thread ?? null, attachments, sending: "waiting",
    });
    this.#drafts.set(draft.client_msg_id, draft);
    this.#setPending((known) => [...known, { is, set, asOf: Infinity }]);
    this.#around.onOutbox();
    void this.#deliver();
  }

  retry(entry: Entry): void {
    entry.set({ sending: "waiting", problem: null });
    void this.#deliver();
  }

  /** It has its place now, or was given up. */
  take(entry: Entry): void {
    this.#drafts.delete(entry.is.clientId);
    this.#setPending((known) => known.filter((one) => one !== entry));
    this.#around.onOutbox();
  }

  find(clientId: string | undefined): Entry | undefined {
    return clientId ? this.pending().find(({ is }) => is.clientId === clientId) : undefined;
  }

  /** The line is back, or there is another reason to try now. */
  nudge(): void {
    this.#wake?.();
    void this.#deliver();
  }

  /** What waits, to be kept over a reload. */
  drafts(): Draft[] {
    return this.pending().flatMap(({ is }) => this.#drafts.get(is.clientId) ?? []);
  }

  close(): void {
    this.#drafts.clear();
    this.#wake?.();
  }

  async #deliver(): Promise<void> {
    if (this.#delivering) return;
    this.#delivering = true;
    for (;;) {
      const entry = this.pending().find(({ is }) => is.sending === "waiting");
      const draft = entry && this.#drafts.get(entry.is.clientId);
      if (!entry || !draft) break;
      try {
        const { data, call } = await this.#around.api.send(this.#room, draft);
        this.#around.onCall(call);
        this.#acknowledged(entry, data.seq);
      } catch (problem) {
        if (problem instanceof ApiError && problem.problem.status < 500 && problem.problem.status !== 429)
          entry.set({ sending: "failed", problem });
        else {
          // It may or may not have arrived; under the same name it is sent again until the answer is known.
          entry.set({ problem });
          await this.#pause(problem instanceof ApiError && problem.retryAfterSeconds ? problem.retryAfterSeconds * 1000 : RETRY_MS);
        }
      }
    }
    this.#delivering = false;
  }

  #pause(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = window.setTimeout(() => this.#wake?.(), milliseconds);
      this.#wake = () => {
        clearTimeout(timer);
        this.#wake = null;
        resolve();
      };
    });
  }
}
