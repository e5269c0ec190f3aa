// One conversation as its reader has it: what was said, in the order of its sequence, each thing once, and after it
// what is still being sent. Three sources meet here (the live stream, history, what this window sends), and all are
// joined by the sequence: an entry that is there is never put there again. What is sent has a name of its own
// (`client_msg_id`) from the start, so that sending it again after a break is the same message.
import { type Accessor, batch, createMemo, createSignal, type Setter, untrack } from "solid-js";
import { createStore, type SetStoreFunction } from "solid-js/store";
import type { Attachment, Draft, Event, Listed, Receipt } from "./api";
import { type Entry, entryOf, reacted, shownOf } from "./entry";
import { Marks } from "./marks";
import { type Around, Outbox } from "./outbox";

const FIRST_PAGE = 100;
const PAGE = 300;
const FAR_PAGE = 1000;
const PREVIEW = 10;
/** A reader that missed more than this begins anew at the newest; the rest is history, read when it is looked at. */
export const FAR_BEHIND = 2000;

export class Room {
  readonly id: string;
  readonly listed: Listed;
  readonly setListed: SetStoreFunction<Listed>;
  readonly #position: Accessor<number | null>;
  readonly #setPosition: Setter<number | null>;
  following = false;

  readonly outbox: Outbox;
  readonly entries: Accessor<Entry[]>;
  readonly marks: Marks;
  readonly typing: Accessor<string[]>;
  readonly loading: Accessor<boolean>;
  readonly error: Accessor<unknown>;
  /** There is nothing before the first entry. */
  readonly begun: Accessor<boolean>;
  /** Why one can no longer speak here. */
  readonly gone: Accessor<string | null>;
  readonly #around: Around;
  readonly #bySeq = new Map<number, Entry>();
  /** Where threads begin that history does not reach yet. */
  readonly #roots = new Map<number, Entry>();
  readonly #replies = new Map<number, ReturnType<typeof createSignal<Entry[]>>>();
  readonly #stored: Accessor<Entry[]>;
  readonly #setStored: Setter<Entry[]>;
  readonly #typists = new Map<string, number>();
  readonly #setTyping: Setter<string[]>;
  readonly #setLoading: Setter<boolean>;
  readonly #setError: Setter<unknown>;
  readonly #setBegun: Setter<boolean>;
  readonly #setGone: Setter<string | null>;
  #head: number;
  #oldest: number | null = null;
  /** History reaches up to here at least, also what is only asked for yet: the stream goes on from it. */
  #historyTo: number | null = null;
  #opened = false;
  #generation = 0;
  #older: Promise<void> | null = null;
  #reading = 0;
  /** What was changed of messages that are being read just now: the page may be from before. */
  readonly #late = new Set<Event>();

  constructor(listed: Listed, around: Around) {
    this.id = listed.conversation.id;
    this.#around = around;
    this.#head = listed.last_seq;
    [this.listed, this.setListed] = createStore(listed);
    [this.#position, this.#setPosition] = createSignal<number | null>(null);
    [this.#stored, this.#setStored] = createSignal<Entry[]>([]);
    this.outbox = new Outbox(this.id, around, (entry, seq) => this.#acknowledged(entry, seq));
    this.marks = new Marks(this.id, around.api);
    [this.typing, this.#setTyping] = createSignal<string[]>([]);
    [this.loading, this.#setLoading] = createSignal(false);
    [this.error, this.#setError] = createSignal<unknown>(null);
    [this.begun, this.#setBegun] = createSignal(false);
    [this.gone, this.#setGone] = createSignal<string | null>(null);
    this.entries = createMemo(() => [...this.#stored(), ...this.outbox.pending().filter(({ is }) => is.thread === null)]);
  }

  /** Everything up to here came by the stream. */
  get position(): number | null {
    return this.#position();
  }

  get user(): string {
    return this.#around.api.user;
  }

  last(): Entry | undefined {
    return this.entries().findLast(({ is }) => is.kind === "message");
  }

  // -- reading ----------------------------------------------------------------------------------

  /** The newest entries and everybody's receipts; once, and again after a break for the receipts. */
  async open(): Promise<void> {
    if (!this.#opened) {
      this.#opened = true;
      await this.older();
      if (this.error()) this.#opened = false;
    }
    await this.marks.readAll();
  }

  /** What was before; as far back as `until`, if that is said, also where something is being read already. */
  async older(until?: number): Promise<void> {
    while (this.#older) {
      await this.#older;
      if (until === undefined) return;
    }
    if (this.begun() || (until !== undefined && this.#oldest !== null && this.#oldest <= until)) return;
    const mine = this.#readOlder(until).finally(() => {
      if (this.#older === mine) this.#older = null;
    });
    this.#older = mine;
    await mine;
  }

  async #readOlder(until: number | undefined): Promise<void> {
    this.#setLoading(true);
    this.#setError(null);
    const generation = this.#generation;
    const anew = () => generation !== this.#generation; // what was asked for before that would leave a gap
    try {
      do {
        const before = this.#oldest;
        if (before === null) this.#historyTo = this.#head;
        await this.#page(this.#around.api.history(this.id, before, until !== undefined ? FAR_PAGE : before === null ? FIRST_PAGE : PAGE), (found) => {
          if (anew()) return;
          this.#take(found.reverse(), Math.max(this.position ?? 0, found.at(-1)?.seq ?? 0));
          this.#oldest = found[0]?.seq ?? this.#oldest;
          this.#historyTo = Math.max(this.#historyTo ?? 0, found.at(-1)?.seq ?? 0);
          if (found.length === 0 || (found[0]?.seq ?? 0) <= 1) this.#setBegun(true);
        });
        if (anew()) return;
      } while (until !== undefined && !this.begun() && (this.#oldest ?? 0) > until);
    } catch (problem) {
      if (anew()) return;
      this.#setError(problem);
    }
    this.#setLoading(false);
  }

  /** A page may be from before what the stream says of its messages while it is under way. */
  async #page(asked: Promise<Event[]>, take: (found: Event[]) => void): Promise<void> {
    this.#reading += 1;
    try {
      const found = await asked;
      batch(() => {
        take(found);
        for (const event of this.#late) this.#amend(event);
      });
    } finally {
      this.#reading -= 1;
      if (!this.#reading) this.#late.clear();
    }
  }

  /** Whether all that was ever said is here. */
  whole(): boolean {
    return this.begun() || this.listed.last_seq <= PREVIEW;
  }

  find(seq: number): Entry | undefined {
    return this.#bySeq.get(seq) ?? this.#roots.get(seq);
  }

  mark(items: Receipt[]): void {
    this.marks.take(items);
    // Read in another window of the same user.
    const mine = items.find(({ user }) => user === this.user);
    if (mine && mine.read_seq >= (this.position ?? Infinity)) this.setListed("unread", 0);
  }

  typed(user: string, seconds: number): void {
    if (user === this.user) return;
    clearTimeout(this.#typists.get(user));
    this.#typists.set(
      user,
      window.setTimeout(() => this.#hush(user), seconds * 1000),
    );
    this.#setTyping([...this.#typists.keys()]);
  }

  #hush(user: string): void {
    const timer = this.#typists.get(user);
    if (timer === undefined) return;
    clearTimeout(timer);
    this.#typists.delete(user);
    this.#setTyping([...this.#typists.keys()]);
  }

  // -- the stream -------------------------------------------------------------------------------

  /** As the list says it is now, before it is followed (again). */
  refresh(listed: Listed): void {
    // What was heard while the list was under way is not in it yet.
    this.#head = Math.max(listed.last_seq, this.position ?? 0);
    let since = 0;
    for (let seq = listed.last_seq + 1; seq <= this.#head; seq += 1) {
      const is = this.#bySeq.get(seq)?.is;
      if (is?.kind === "message" && is.author !== this.user) since += 1;
    }
    this.setListed({ ...listed, last_seq: this.#head, unread: listed.unread + since });
    const known = this.position ?? this.#historyTo;
    if (known !== null && listed.last_seq - known > FAR_BEHIND) this.#forget();
    this.#setGone(null);
  }

  /** Where to follow from: what this window has, or just enough for a preview. */
  after(): number {
    return untrack(this.#position) ?? this.#setPosition(this.#historyTo ?? Math.max(0, this.#head - PREVIEW));
  }

  /** What is here is not what the server has. */
  beginAnew(): void {
    this.#head = 0;
    this.#forget();
  }

  #forget(): void {
    this.#generation += 1;
    this.#older = null;
    batch(() => {
      this.#setLoading(false);
      this.#setPosition(null);
      this.#oldest = null;
      this.#historyTo = null;
      this.#bySeq.clear();
      this.#roots.clear();
      this.#replies.clear();
      this.#setStored([]);
      this.#setBegun(false);
    });
    if (this.#opened) void this.older();
  }

  /** News, in their order. Returns whether there was any that was not known. */
  hear(events: Event[]): boolean {
    const fresh = events.filter((event) => event.seq > (this.position ?? 0));
    const newest = fresh.at(-1);
    if (!newest) return false;
    batch(() => {
      this.#take(fresh, this.#head);
      for (const event of fresh) {
        if (event.type === "message") {
          this.#hush(event.author);
          if (event.author !== this.user && event.seq > this.#head) this.setListed("unread", (count) => count + 1);
          const target = event.thread === undefined ? undefined : this.find(event.thread);
          if (target && event.seq > target.asOf) target.set("replies", (count) => count + 1);
        } else if (event.type === "conversation") {
          if (event.name !== undefined) this.setListed("conversation", "name", event.name);
          if (event.slow_mode_seconds !== undefined) this.setListed("conversation", "slow_mode_seconds", event.slow_mode_seconds);
        } else if (event.type === "member") this.#moved(event);
      }
      this.#setPosition(newest.seq);
      this.#head = Math.max(this.#head, newest.seq);
      this.setListed("last_seq", this.#head);
    });
    return true;
  }

  #moved(event: Event): void {
    const { user = "", change, role } = event;
    const gone = change === "left" || change === "removed" || change === "banned";
    // What the list has counted already is only told again.
    const news = event.seq > this.#head;
    const count = (step: number) => news && this.setListed("conversation", "members", (known) => Math.max(0, known + step));
    if (change === "joined" && !this.marks.has(user) && event.seq > 1) {
      count(1);
      this.marks.take([{ user, delivered_seq: 0, read_seq: 0 }]);
    }
    // Who is banned need not have been in.
    if (gone && (this.marks.drop(user) || change !== "banned" || user === this.user)) count(-1);
    if (user !== this.user || !news) return;
    if (change === "role" && role) this.setListed("role", role);
    if (gone) {
      this.following = false;
      const words = { left: "You have left this conversation.", removed: `${event.author} took you out of this conversation.` };
      this.#setGone(change === "banned" ? `${event.author} banned you from this conversation.` : words[change as keyof typeof words]);
    }
  }

  /** Put entries where they belong; `asOf`: what is newer comes by the stream. */
  #take(events: Event[], asOf: number): void {
    const fresh: Entry[] = [];
    for (const event of events) {
      if (event.type === "message") {
        if (this.#bySeq.has(event.seq)) continue;
        const mine = event.author === this.user ? this.outbox.find(event.client_msg_id) : undefined;
        const entry = mine ?? this.#roots.get(event.seq) ?? entryOf(event, Math.max(asOf, event.seq));
        this.#roots.delete(event.seq);
        if (mine) {
          this.outbox.take(mine);
          mine.set({ ...shownOf(event), clientId: mine.is.clientId });
          mine.asOf = event.seq;
        }
        this.#bySeq.set(event.seq, entry);
        if (entry.is.thread === null) fresh.push(entry);
        else this.#answer(entry.is.thread, entry);
      } else if (event.type === "member" || event.type === "conversation") {
        if (this.#bySeq.has(event.seq)) continue;
        const entry = entryOf(event, event.seq);
        this.#bySeq.set(event.seq, entry);
        fresh.push(entry);
      } else this.#amend(event);
    }
    this.#merge(fresh);
  }

  #merge(fresh: Entry[]): void {
    if (!fresh.length) return;
    const seq = ({ is }: Entry) => is.seq ?? Infinity;
    this.#setStored((known) => [...known, ...fresh].sort((one, other) => seq(one) - seq(other)));
  }

  #amend(event: Event): void {
    const entry = event.target === undefined ? undefined : this.find(event.target);
    if (!entry) {
      if (this.#reading) this.#late.add(event);
      return;
    }
    if (event.type === "deleted") entry.set({ deleted: true, text: "", attachments: [], reactions: [] });
    else if (event.type === "edited" && event.message && !entry.is.deleted) {
      if (event.message.deleted) entry.set({ deleted: true, text: "", attachments: [], reactions: [] });
      else entry.set({ text: event.message.text ?? "", edited: true });
    } else if (event.type === "reaction" && event.emoji)
      entry.set("reactions", (known) => reacted(known, event.emoji ?? "", event.author, event.added ?? false));
  }

  // -- threads ----------------------------------------------------------------------------------

  #thread(seq: number): ReturnType<typeof createSignal<Entry[]>> {
    let found = this.#replies.get(seq);
    if (!found) {
      found = createSignal<Entry[]>([]);
      this.#replies.set(seq, found);
    }
    return found;
  }

  #answer(thread: number, entry: Entry): void {
    const [, set] = this.#thread(thread);
    set((known) => [...(known ?? []), entry].sort((one, other) => (one.is.seq ?? Infinity) - (other.is.seq ?? Infinity)));
  }

  /** The answers in a thread that are known here, and those being sent. */
  answers(thread: number): Entry[] {
    return [...(this.#thread(thread)[0]() ?? []), ...this.outbox.pending().filter(({ is }) => is.thread === thread)];
  }

  async openThread(seq: number): Promise<void> {
    const root = async () => [await this.#around.api.message(this.id, seq)];
    if (!this.find(seq))
      await this.#page(root(), ([event]) => {
        if (event && !this.find(seq)) this.#roots.set(seq, entryOf(event, this.position ?? seq));
      });
    let after = 0;
    for (;;) {
      let count = 0;
      await this.#page(this.#around.api.thread(this.id, seq, after, FAR_PAGE), (found) => {
        this.#take(found, this.position ?? 0);
        after = found.at(-1)?.seq ?? after;
        count = found.length;
      });
      if (count < FAR_PAGE) break;
    }
    this.find(seq)?.set("replies", (count) => Math.max(count, this.answers(seq).length));
  }

  // -- saying -----------------------------------------------------------------------------------

  /** Show it at once, and send it until it is acknowledged or refused. */
  say(draft: Draft, attachments: Attachment[] = []): void {
    this.outbox.say(draft, attachments, new Date().toISOString());
  }

  #acknowledged(entry: Entry, seq: number): void {
    batch(() => {
      this.outbox.take(entry);
      if (this.#bySeq.has(seq)) return; // the stream was quicker, and has put it there
      entry.set({ seq, sending: "no", problem: null });
      entry.asOf = seq;
      this.#bySeq.set(seq, entry);
      if (entry.is.thread === null) this.#merge([entry]);
      else this.#answer(entry.is.thread, entry);
    });
  }

  /** Nothing can be said here any more. */
  end(why: string): void {
    this.#setGone(why);
  }

  close(): void {
    for (const timer of this.#typists.values()) clearTimeout(timer);
    this.outbox.close();
  }
}
