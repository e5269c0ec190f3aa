// One user's socket, `/v1/chat/socket`: opened again after every break, with pauses that grow; a line that says
// nothing is asked, and cut if it does not answer. What is missed in between is not the line's business: whoever
// follows a conversation follows it again from the last sequence they have.
import { type Accessor, createSignal, type Setter } from "solid-js";
import type { Event, Receipt } from "./api";

export type LineState = { kind: "opening" } | { kind: "live" } | { kind: "lost"; retryAt: number } | { kind: "closed"; why: string };

export interface Presence {
  user: string;
  online: boolean;
}

/** What the server says without being asked. */
export type Notice =
  | Event
  | { type: "following"; conversation: string; position: number }
  | { type: "typing"; conversation: string; user: string; seconds: number }
  | { type: "receipts"; conversation: string; items: Receipt[]; more?: number }
  | { type: "presence"; items: Presence[] }
  | { type: "joined"; conversation: string }
  | { type: "error"; ref?: string; error: { detail: string; code: string } };

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
const EXPIRED = 4401;
const REVOKED = 4403;

export class Line {
  #listener: Listener;
  #user: string;
  #socket: WebSocket | null = null;
  #retryMs = FIRST_RETRY_MS;
  #timer: number | undefined;
  #watch: number | undefined;
  #heard = 0;
  #ended = false;
  readonly state: Accessor<LineState>;
  readonly #setState: Setter<LineState>;

  constructor(user: string, listener: Listener) {
    this.#user = user;
    this.#listener = listener;
    [this.state, this.#setState] = createSignal<LineState>({ kind: "opening" });
    window.addEventListener("online", this.retry);
    window.addEventListener("offline", this.#unplugged);
    this.#watch = window.setInterval(() => this.#look(), 2000);
    this.#open();
  }

  close(): void {
    this.#ended = true;
    window.removeEventListener("online", this.retry);
    window.removeEventListener("offline", this.#unplugged);
    clearTimeout(this.#timer);
    clearInterval(this.#watch);
    this.#socket?.close(1000);
    this.#socket = null;
  }

  /** Say something; false if the line is not there, and it was not said. */
  say(request: Record<string, unknown>): boolean {
    if (this.state().kind !== "live") return false;
    this.#socket?.send(JSON.stringify(request));
    return true;
  }

  retry = (): void => {
    if (this.#ended || this.state().kind === "live") return;
    this.#retryMs = FIRST_RETRY_MS;
    this.#open();
  };

  #unplugged = (): void => this.#drop();

  #open(): void {
    clearTimeout(this.#timer);
    this.#forget();
    const address = new URL(`/v1/chat/socket?user=${encodeURIComponent(this.#user)}`, location.href);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address);
    this.#socket = socket;
    this.#heard = Date.now();
    socket.addEventListener("open", () => socket.send(JSON.stringify({ op: "connect", device: "console" })));
    socket.addEventListener("message", (message) => {
      if (socket !== this.#socket) return;
      this.#heard = Date.now();
      const said = JSON.parse(message.data as string) as Notice | Answer;
      if (said.type === "connected") {
        this.#retryMs = FIRST_RETRY_MS;
        this.#setState({ kind: "live" });
        this.#listener.onLive();
      } else if (said.type !== "pong" && said.type !== "done") this.#listener.onNotice(said);
    });
    socket.addEventListener("close", (event) => {
      if (socket !== this.#socket) return;
      if (event.code === REVOKED) this.#setState({ kind: "closed", why: "This user's sessions were ended." });
      else if (event.code === EXPIRED) this.#open();
      else this.#drop();
    });
  }

  /** A connection that was cut without a word looks open: ask it, and do not wait long. */
  #look(): void {
    if (!this.#socket || this.state().kind === "closed" || this.state().kind === "lost") return;
    const quiet = Date.now() - this.#heard;
    if (quiet > QUIET_MS + PATIENCE_MS) this.#drop();
    else if (quiet > QUIET_MS && this.#socket.readyState === WebSocket.OPEN) this.#socket.send('{"op":"ping"}');
  }

  #drop(): void {
    this.#forget();
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
