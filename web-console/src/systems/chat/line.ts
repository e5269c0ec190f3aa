// One user's socket, `/v1/chat/socket`: opened again after every break, with pauses that grow; a line that says
// nothing is asked, and cut if it does not answer. What is missed in between is not the line's business: whoever
// follows a conversation follows it again from the last sequence they have. Where the socket is refused and plain
// requests are not, a detour brings the news until the socket can be had.
import { type Accessor, createSignal, type Setter } from "solid-js";
import type { Api, Event, Presence, Receipt } from "./api";
import { Detour } from "./detour";

export type LineState = { kind: "opening" } | { kind: "live" } | { kind: "detour" } | { kind: "lost"; retryAt: number } | { kind: "closed"; why: string };

/** What the server says without being asked. */
export type Notice =
  | Event
  | { type: "following"; conversation: string; position: number }
  | { type: "typing"; conversation: string; user: string; seconds: number }
  | { type: "receipts"; conversation: string; items: Receipt[]; more?: number }
  | { type: "presence"; items: Presence[] }
  | { type: "joined"; conversation: string }
  | { type: "error"; ref?: string; error: { detail: string; code: string; field?: string } };

type Answer = { type: "connected" } | { type: "pong" } | { type: "done" };

interface Listener {
  /** The line is there: follow everything. Rejects if it cannot; then it is tried again. */
  onLive: () => void;
  onNotice: (notice: Notice) => void;
}

const FIRST_RETRY_MS = 400;
const LONGEST_RETRY_MS = 8000;
const QUIET_MS = 15_000;
const PATIENCE_MS = 6000;
/** So many refusals in a row are no accident. */
const REFUSALS = 2;
const FIRST_RETURN_MS = 4000;
const LONGEST_RETURN_MS = 60_000;
const EXPIRED = 4401;
const REVOKED = 4403;

export class Line {
  #listener: Listener;
  readonly #api: Api;
  #socket: WebSocket | null = null;
  #retryMs = FIRST_RETRY_MS;
  #timer: number | undefined;
  #watch: number | undefined;
  #heard = 0;
  /** When this line was asked whether it is there. */
  #asked = 0;
  /** Attempts that ended before the server said a word. */
  #refused = 0;
  #connected = false;
  #detour: Detour | null = null;
  #returnMs = FIRST_RETURN_MS;
  #onScreen: string | null = null;
  #ended = false;
  readonly state: Accessor<LineState>;
  readonly #setState: Setter<LineState>;

  constructor(api: Api, listener: Listener) {
    this.#api = api;
    this.#listener = listener;
    [this.state, this.#setState] = createSignal<LineState>({ kind: "opening" });
    window.addEventListener("online", this.#plugged);
    window.addEventListener("offline", this.#unplugged);
    this.#watch = window.setInterval(() => this.#look(), 2000);
    this.#open();
  }

  close(): void {
    this.#ended = true;
    window.removeEventListener("online", this.#plugged);
    window.removeEventListener("offline", this.#unplugged);
    clearTimeout(this.#timer);
    clearInterval(this.#watch);
    this.#socket?.close(1000);
    this.#socket = null;
    this.#detour?.close();
  }

  /** Whether news come, by whichever way. */
  there(): boolean {
    const { kind } = this.state();
    return kind === "live" || kind === "detour";
  }

  /** Which conversation is on the screen. */
  focus(conversation: string | null): void {
    this.#onScreen = conversation;
    this.#detour?.focus(conversation);
  }

  /** Say something; false if the line is not there, and it was not said. */
  say(request: Record<string, unknown>): boolean {
    if (!this.there()) return false;
    if (this.#detour) this.#detour.say(request);
    else if (!this.#send(JSON.stringify(request))) return false;
    return true;
  }

  retry = (): void => {
    if (this.#ended || (this.state().kind === "live" && this.#connected)) return;
    this.#retryMs = FIRST_RETRY_MS;
    this.#returnMs = FIRST_RETURN_MS;
    this.#open();
  };

  /** What was ended comes back only if somebody asks for it. */
  #plugged = (): void => void (this.state().kind !== "closed" && this.retry());

  #unplugged = (): void => void (this.state().kind !== "closed" && this.#lose());

  #open(): void {
    clearTimeout(this.#timer);
    this.#forget();
    const address = new URL(`/v1/chat/socket?user=${encodeURIComponent(this.#api.user)}`, location.href);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address);
    this.#socket = socket;
    this.#heard = Date.now();
    this.#connected = false;
    socket.addEventListener("open", () => socket.send(JSON.stringify({ op: "connect", device: "console" })));
    socket.addEventListener("message", (message) => {
      if (socket !== this.#socket) return;
      this.#heard = Date.now();
      const said = JSON.parse(message.data as string) as Notice | Answer;
      if (said.type === "connected") {
        this.#retryMs = FIRST_RETRY_MS;
        this.#returnMs = FIRST_RETURN_MS;
        this.#refused = 0;
        this.#connected = true;
        clearTimeout(this.#timer); // another attempt may have been planned meanwhile
        this.#detour?.close();
        this.#detour = null;
        this.#setState({ kind: "live" });
        this.#listener.onLive();
      } else if (said.type !== "pong" && said.type !== "done") this.#listener.onNotice(said);
    });
    socket.addEventListener("close", (event) => {
      if (socket !== this.#socket) return;
      if (event.code === REVOKED) this.#end("This user's sessions were ended.");
      else if (event.code === EXPIRED && this.#connected) this.#open();
      else this.#drop();
    });
  }

  /** A connection that was cut without a word looks open: ask it, and do not wait long. */
  #look(): void {
    if (!this.#socket || this.state().kind === "closed" || this.state().kind === "lost") return;
    const now = Date.now();
    if (!this.#connected) {
      if (now - this.#heard > PATIENCE_MS) this.#drop();
    } else if (this.#asked > this.#heard) {
      if (now - this.#asked > PATIENCE_MS) this.#drop();
    } else if (now - this.#heard > QUIET_MS) {
      // Never cut unasked: a tab in the background looks once a minute, and a laptop slept.
      this.#send('{"op":"ping"}');
      this.#asked = now;
    }
  }

  /** A socket that the other side has begun to close is still there, and takes nothing more. */
  #send(text: string): boolean {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(text);
    return true;
  }

  #end(why: string): void {
    this.#forget();
    clearTimeout(this.#timer);
    this.#detour?.close();
    this.#detour = null;
    this.#setState({ kind: "closed", why });
  }

  #drop(): void {
    this.#forget();
    if (this.#ended) return;
    if (!this.#connected) this.#refused += 1;
    if (this.#detour) this.#returnLater();
    else if (this.#refused >= REFUSALS && navigator.onLine) void this.#goAround();
    else this.#lose();
  }

  /** Only the socket is refused? Then there is another way. */
  async #goAround(): Promise<void> {
    try {
      await this.#api.conversations(null, 1);
    } catch {
      if (!this.#detour && !this.#connected) this.#lose();
      return;
    }
    if (this.#ended || this.#detour || this.#connected) return;
    this.#detour = new Detour(this.#api, this.#onScreen, { onNotice: (notice) => this.#listener.onNotice(notice), onLost: () => this.#lose() });
    this.#setState({ kind: "detour" });
    this.#listener.onLive();
    this.#returnLater();
  }

  #returnLater(): void {
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => this.#open(), this.#returnMs);
    this.#returnMs = Math.min(LONGEST_RETURN_MS, this.#returnMs * 2);
  }

  #lose(): void {
    this.#forget();
    this.#detour?.close();
    this.#detour = null;
    if (this.#ended) return;
    clearTimeout(this.#timer);
    const wait = this.#retryMs * (0.75 + Math.random() / 2);
    this.#retryMs = Math.min(LONGEST_RETRY_MS, this.#retryMs * 2);
    this.#setState({ kind: "lost", retryAt: Date.now() + wait });
    this.#timer = window.setTimeout(() => this.#open(), wait);
  }

  #forget(): void {
    const old = this.#socket;
    this.#socket = null;
    old?.close();
  }
}
