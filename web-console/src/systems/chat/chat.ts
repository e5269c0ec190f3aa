// One user's chat: the conversations they are in, the line that brings the news, and who is there. After every break
// the list is read again and each conversation is followed from what this window has of it.
import { type Accessor, batch, createMemo, createSignal, getOwner, runWithOwner, type Setter } from "solid-js";
import { createStore, type SetStoreFunction } from "solid-js/store";
import { ApiError, type Call } from "../../api/http";
import { Api, type Conversation, type Draft, type Event, type Listed } from "./api";
import { Line, type Notice } from "./line";
import { Room } from "./room";
import { noteConversations } from "./state";

const LIST = 100;
const LONGEST_LIST = 500;
const GATHER_MS = 16;
const REPORT_MS = 250;
const TYPING_MS = 2000;
const AGAIN_MS = 2000;
const MOST_LOOKED_AT = 200;

interface Place {
  room: string;
  seq: number;
}

export class Chat {
  readonly api: Api;
  readonly line: Line;
  readonly rooms: Accessor<Room[]>;
  readonly sorted: Accessor<Room[]>;
  readonly loading: Accessor<boolean>;
  readonly error: Accessor<unknown>;
  readonly more: Accessor<string | null>;
  /** The newest call that did something, for the drawer. */
  readonly call: Accessor<Call | null>;
  readonly setCall: Setter<Call | null>;
  /** A message to be shown in its place: what a search found. */
  readonly target: Accessor<Place | null>;
  readonly setTarget: Setter<Place | null>;
  readonly online: Record<string, boolean>;
  readonly #setOnline: SetStoreFunction<Record<string, boolean>>;
  readonly #setRooms: Setter<Room[]>;
  readonly #setLoading: Setter<boolean>;
  readonly #setError: Setter<unknown>;
  readonly #setMore: Setter<string | null>;
  readonly #owner = getOwner();
  readonly #byId = new Map<string, Room>();
  #heard: Event[] = [];
  #gather: number | undefined;
  #report: number | undefined;
  readonly #reports = new Map<string, number>();
  readonly #read = new Map<string, number>();
  #refreshing: Promise<void> | null = null;
  #again = false;
  #opened: Room | null = null;
  #looked = "";
  #typed = 0;
  #ended = false;
  /** From before a reload, for conversations that are not read yet. */
  readonly #waiting: Record<string, Draft[]>;

  constructor(user: string) {
    this.api = new Api(user);
    this.#waiting = this.#kept();
    [this.rooms, this.#setRooms] = createSignal<Room[]>([]);
    [this.loading, this.#setLoading] = createSignal(true);
    [this.error, this.#setError] = createSignal<unknown>(null);
    [this.more, this.#setMore] = createSignal<string | null>(null);
    [this.call, this.setCall] = createSignal<Call | null>(null);
    [this.target, this.setTarget] = createSignal<Place | null>(null);
    [this.online, this.#setOnline] = createStore<Record<string, boolean>>({});
    const newest = (room: Room) => room.last()?.is.at ?? room.listed.conversation.created_at;
    this.sorted = createMemo(() => [...this.rooms()].sort((one, other) => newest(other).localeCompare(newest(one))));
    this.line = new Line(this.api, { onLive: () => this.#live(), onNotice: (notice) => this.#hear(notice) });
    void this.refresh();
  }

  get user(): string {
    return this.api.user;
  }

  close(): void {
    this.#ended = true;
    clearTimeout(this.#gather);
    clearTimeout(this.#report);
    this.line.close();
    for (const room of this.#byId.values()) room.close();
  }

  room(id: string): Room | undefined {
    this.rooms();
    return this.#byId.get(id);
  }

  // -- the list ---------------------------------------------------------------------------------

  /** Read the list and follow what is in it; asked again meanwhile, it does so once more. */
  refresh(): Promise<void> {
    if (this.#refreshing) {
      this.#again = true;
      return this.#refreshing;
    }
    this.#refreshing = this.#list().finally(() => {
      this.#refreshing = null;
      if (!this.#again || this.#ended) return;
      this.#again = false;
      void this.refresh();
    });
    return this.#refreshing;
  }

  async #list(): Promise<void> {
    this.#setError(null);
    try {
      const wanted = Math.min(LONGEST_LIST, Math.max(LIST, this.#byId.size));
      const page = await this.api.conversations(null, wanted);
      if (this.#ended) return;
      batch(() => {
        this.#take(page.items);
        if (this.#byId.size <= wanted) this.#setMore(page.next_cursor);
        const there = new Set(page.items.map((listed) => listed.conversation.id));
        const last = page.items.at(-1)?.conversation.id;
        for (const room of [...this.#byId.values()]) {
          const beyond = page.next_cursor !== null && last !== undefined && BigInt(room.id) < BigInt(last);
          if (!there.has(room.id) && !beyond && room !== this.#opened) this.#byId.delete(room.id);
        }
        this.#setRooms([...this.#byId.values()]);
      });
    } catch (problem) {
      this.#setError(problem);
      // A refusal stays one; everything else is tried again with the line.
      if (!(problem instanceof ApiError)) this.#setError(this.#byId.size ? null : problem);
    }
    this.#setLoading(false);
    this.#follow();
  }

  async extend(): Promise<void> {
    const cursor = this.more();
    if (!cursor) return;
    this.#setMore(null);
    try {
      const page = await this.api.conversations(cursor, LIST);
      batch(() => {
        this.#take(page.items);
        this.#setRooms([...this.#byId.values()]);
        this.#setMore(page.next_cursor);
      });
      this.#follow();
    } catch {
      this.#setMore(cursor);
    }
  }

  #take(items: Listed[]): void {
    for (const listed of items) {
      const known = this.#byId.get(listed.conversation.id);
      if (!known) this.#add(listed);
      else {
        known.refresh(listed);
        // What was just read here may not be counted there yet.
        if ((this.#read.get(known.id) ?? 0) >= listed.last_seq) known.setListed("unread", 0);
      }
    }
  }

  #add(listed: Listed): Room {
    const room = runWithOwner(
      this.#owner,
      () => new Room(listed, { api: this.api, onOutbox: () => this.#keepOutbox(), onCall: (call) => this.setCall(call) }),
    ) as Room;
    this.#byId.set(room.id, room);
    if (!this.loading()) noteConversations();
    const waiting = this.#waiting[room.id] ?? [];
    delete this.#waiting[room.id];
    for (const draft of waiting) room.say(draft);
    return room;
  }

  /** A conversation that was just begun here is there at once; a direct one may have a history. */
  async begun(conversation: Conversation, peer: string | null): Promise<Room> {
    const [newest] = await this.api.history(conversation.id, null, 1);
    const known = this.#byId.get(conversation.id);
    if (known) return known;
    const last_seq = newest?.seq ?? 1;
    const room = this.#add({ conversation, peer, role: peer ? "member" : "owner", last_seq, read_seq: 0, unread: 0 });
    this.#setRooms([...this.#byId.values()]);
    this.#follow();
    return room;
  }

  // -- the line ---------------------------------------------------------------------------------

  #live(): void {
    for (const room of this.#byId.values()) room.following = false;
    this.#looked = "";
    this.#read.clear(); // what was said last on the old line may not have arrived
    this.#say();
    void this.refresh().then(() => {
      for (const room of this.#byId.values()) room.outbox.nudge();
      if (this.#opened) void this.#opened.open();
    });
  }

  #follow(): void {
    if (!this.line.there()) return;
    for (const room of this.#byId.values()) {
      if (room.following || room.gone()) continue;
      room.following = this.line.say({ op: "follow", ref: room.id, conversation: room.id, after: room.after() });
    }
    this.look();
  }

  #hear(notice: Notice): void {
    if ("seq" in notice) {
      this.#heard.push(notice);
      this.#gather ??= window.setTimeout(() => this.#flush(), GATHER_MS);
      return;
    }
    if (notice.type === "joined") void this.refresh();
    else if (notice.type === "presence") {
      batch(() => {
        for (const one of notice.items) this.#setOnline(one.user, one.online);
      });
    } else if (notice.type === "following") {
      // What was read between its receipts' reading and this moment was told to nobody here.
      if (notice.conversation === this.#opened?.id) void this.#opened.marks.readAll();
    } else if (notice.type === "typing") this.#byId.get(notice.conversation)?.typed(notice.user, notice.seconds);
    else if (notice.type === "receipts") {
      const room = this.#byId.get(notice.conversation);
      room?.mark(notice.items);
      if (notice.more && room === this.#opened) void room?.marks.readAll();
    } else if (notice.type === "error") {
      const room = this.#byId.get(notice.ref ?? "");
      if (room) this.#refused(room, notice.error);
    }
  }

  /** A conversation could not be followed. */
  #refused(room: Room, error: { code: string; field?: string }): void {
    room.following = false;
    if (error.field === "after") room.beginAnew(); // the server has less than this window: it was set back
    else if (error.code.startsWith("chat.")) return room.end("You are not in this conversation any more.");
    setTimeout(() => !this.#ended && this.#follow(), AGAIN_MS);
  }

  /** All news of a moment are one change of the page. */
  #flush(): void {
    this.#gather = undefined;
    const heard = new Map<string, Event[]>();
    for (const event of this.#heard) {
      const some = heard.get(event.conversation);
      if (some) some.push(event);
      else heard.set(event.conversation, [event]);
    }
    this.#heard = [];
    batch(() => {
      for (const [id, events] of heard) {
        const room = this.#byId.get(id);
        if (room?.hear(events) && room.position !== null) this.#reports.set(id, room.position);
      }
    });
    if (this.#reports.size) this.#report ??= window.setTimeout(() => this.#say(), REPORT_MS);
  }

  #say(): void {
    this.#report = undefined;
    for (const [conversation, seq] of this.#reports) if (this.line.say({ op: "received", conversation, seq })) this.#reports.delete(conversation);
  }

  // -- the open conversation --------------------------------------------------------------------

  opened(room: Room | null): void {
    this.#opened = room;
    this.line.focus(room?.id ?? null);
    if (room) void room.open().then(() => this.look());
  }

  /** It is on the screen, down to its end. */
  read(room: Room): void {
    const seq = room.position;
    if (seq === null || seq === 0 || (this.#read.get(room.id) ?? 0) >= seq) return;
    if (!this.line.say({ op: "read", conversation: room.id, seq })) return;
    this.#read.set(room.id, seq);
    room.setListed("unread", 0);
  }

  typing(room: Room): void {
    if (Date.now() - this.#typed < TYPING_MS) return;
    if (this.line.say({ op: "typing", conversation: room.id })) this.#typed = Date.now();
  }

  /** Look at those whose presence is shown: partners, and who is in the open conversation. */
  look(): void {
    const partners = this.rooms().flatMap((room) => room.listed.peer ?? []);
    const users = [...new Set([...partners, ...(this.#opened?.marks.members() ?? [])])].slice(0, MOST_LOOKED_AT);
    const key = users.join("\n");
    if (key !== this.#looked && this.line.say({ op: "look", users })) this.#looked = key;
  }

  // -- what waits outlives a reload ------------------------------------------------------------

  #outboxKey(): string {
    return `twelvefold.chat.outbox.${this.user}`;
  }

  #kept(): Record<string, Draft[]> {
    try {
      return JSON.parse(sessionStorage.getItem(this.#outboxKey()) ?? "{}") as Record<string, Draft[]>;
    } catch {
      return {};
    }
  }

  #keepOutbox(): void {
    if (this.#ended) return;
    const waiting = { ...this.#waiting };
    for (const room of this.#byId.values()) {
      const drafts = room.outbox.drafts();
      if (drafts.length) waiting[room.id] = drafts;
    }
    try {
      if (Object.keys(waiting).length) sessionStorage.setItem(this.#outboxKey(), JSON.stringify(waiting));
      else sessionStorage.removeItem(this.#outboxKey());
    } catch {
      // Storage may be forbidden; what waits then lasts as long as the page.
    }
  }
}
