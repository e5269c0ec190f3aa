// A storm: so many simulated clients in one conversation, each with a socket of its own, and somebody who talks. How
// long each message took to each of them is measured here, in this browser, by one clock.
import { createMemo, createSignal, type JSX, onCleanup, Show } from "solid-js";
import type { Call } from "../../api/http";
import { count, milliseconds, plural } from "../../format";
import { CallDrawer } from "../../parts/CallDrawer";
import { Chart, type Columns } from "../../parts/Chart";
import { TextField } from "../../parts/fields";
import { InlineError } from "../../parts/states";
import { Api } from "./api";

const MOST_CLIENTS = 200;
const MESSAGES = 100;
const EVERY_MS = 50;
const CONNECT_MS = 20_000;
const SETTLE_MS = 5000;
const LINES = [{ token: "accent" }, { token: "text-quiet", dashed: true }] as const;

/** Of one message: when it was said (seconds since the start), and how long it took to the middle and the slowest. */
interface Point {
  at: number;
  median: number;
  slowest: number;
  heard: number;
}

interface Socket {
  say: (request: Record<string, unknown>) => void;
  close: () => void;
}

export function Storm(): JSX.Element {
  const [text, setText] = createSignal("50");
  const [stage, setStage] = createSignal<"idle" | "connecting" | "talking" | "done">("idle");
  const [connected, setConnected] = createSignal(0);
  const [points, setPoints] = createSignal<Point[]>([]);
  const [error, setError] = createSignal<unknown>(null);
  const [call, setCall] = createSignal<Call | null>(null);
  const clients = createMemo(() => Math.max(2, Math.min(MOST_CLIENTS, Number.parseInt(text(), 10) || 2)));
  let sockets: Socket[] = [];
  let timer: number | undefined;
  let over = false;
  const stop = () => {
    over = true;
    clearInterval(timer);
    for (const socket of sockets) socket.close();
    sockets = [];
  };
  onCleanup(stop);

  const run = async (event: SubmitEvent) => {
    event.preventDefault();
    if (stage() === "connecting" || stage() === "talking") return;
    setError(null);
    setPoints([]);
    setConnected(0);
    setStage("connecting");
    over = false;
    try {
      const users = Array.from({ length: clients() }, (_, number) => `storm-${number + 1}`);
      const { data, call: made } = await new Api("storm").create({ kind: "group", name: "Storm", members: users });
      setCall(made);
      await talk(data.id, users);
      setStage("done");
    } catch (problem) {
      setError(problem);
      setStage("idle");
    }
    stop();
  };

  const talk = async (room: string, users: string[]) => {
    const said: number[] = [];
    const heard: number[][] = Array.from({ length: MESSAGES }, () => []);
    let left = MESSAGES * users.length;
    let finished: () => void = () => undefined;
    const all = new Promise<void>((resolve) => (finished = resolve));
    const hear = (number: number) => {
      heard[number]?.push(performance.now() - (said[number] ?? 0));
      left -= 1;
      if (left === 0) finished();
    };
    const [storm] = await Promise.all(
      ["storm", ...users].map((user) =>
        join(user, room, user === "storm" ? null : hear).then((socket) => {
          if (over) socket.close(); // somebody else could not come, or nobody looks any more
          else sockets.push(socket);
          setConnected((known) => known + 1);
          return socket;
        }),
      ),
    );
    if (over) return;
    setStage("talking");
    const began = performance.now();
    const draw = () => setPoints(heard.flatMap((times, number) => pointOf(((said[number] ?? 0) - began) / 1000, times)));
    await new Promise<void>((resolve) => {
      timer = window.setInterval(() => {
        const number = said.length;
        said.push(performance.now());
        storm?.say({ op: "send", conversation: room, text: `${number}` });
        if (number % 5 === 0) draw();
        if (said.length < MESSAGES) return;
        clearInterval(timer);
        resolve();
      }, EVERY_MS);
    });
    await Promise.race([all, new Promise((resolve) => setTimeout(resolve, SETTLE_MS))]);
    draw();
  };

  const columns = createMemo((): Columns => [
    points().map((point) => point.at),
    points().map((point) => point.median),
    points().map((point) => point.slowest),
  ]);
  const summary = createMemo(() => {
    const known = points();
    const medians = known.map((point) => point.median).sort((one, other) => one - other);
    return {
      deliveries: known.reduce((sum, point) => sum + point.heard, 0),
      median: medians[medians.length >> 1] ?? null,
      slowest: known.length ? Math.max(...known.map((point) => point.slowest)) : null,
    };
  });
  const busy = () => stage() === "connecting" || stage() === "talking";

  return (
    <div class="card stack">
      <form class="chat-door-form" onSubmit={(event) => void run(event)} novalidate>
        <TextField
          label="Clients"
          inputmode="numeric"
          hint={`Up to ${MOST_CLIENTS}; each opens a socket from this browser.`}
          value={text()}
          disabled={busy()}
          onText={setText}
        />
        <button type="submit" class="button primary" disabled={busy()}>
          Start the storm
        </button>
      </form>
      <InlineError error={error()} />
      <div role="status">
        <Show when={stage() === "connecting"}>
          <p>
            {count(connected())} of {count(clients() + 1)} connected…
          </p>
        </Show>
        <Show when={stage() === "talking" || stage() === "done"}>
          <p>
            <b>{count(summary().deliveries)}</b> of {count(MESSAGES * clients())} deliveries, half of the clients within{" "}
            <b>{milliseconds(summary().median)}</b>, the slowest after <b>{milliseconds(summary().slowest)}</b>
          </p>
        </Show>
      </div>
      <Show when={points().length > 1}>
        <Chart
          label={`Delivery to ${plural(clients(), "client")}: half within ${milliseconds(summary().median)}, the slowest after ${milliseconds(summary().slowest)}`}
          columns={columns}
          lines={LINES}
          height={160}
          leastTop={10}
          axes
          formatTime={(seconds) => `${seconds.toFixed(1)} s`}
          format={(value) => milliseconds(value)}
        />
        <p class="quiet small-text">
          From the moment a message is handed to its socket, over the commit on disk, to each client. The line is the
          middle client, the dashes the slowest. All of it shares this machine with the browser.
        </p>
      </Show>
      <Show when={call()}>{(made) => <CallDrawer call={made()} />}</Show>
    </div>
  );
}

function pointOf(at: number, times: number[]): Point[] {
  if (!times.length) return [];
  const sorted = [...times].sort((one, other) => one - other);
  return [{ at, median: sorted[sorted.length >> 1] ?? 0, slowest: sorted.at(-1) ?? 0, heard: times.length }];
}

/** A client that follows the conversation; resolves when it does. */
function join(user: string, room: string, hear: ((number: number) => void) | null): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const address = new URL(`/v1/chat/socket?user=${user}`, location.href);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address);
    const timer = setTimeout(() => reject(new Error("Not all clients were connected in time.")), CONNECT_MS);
    const say = (request: Record<string, unknown>) => socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify(request));
    socket.addEventListener("open", () => {
      say({ op: "connect", device: "storm" });
      say({ op: "follow", conversation: room, ref: "joined" });
    });
    socket.addEventListener("message", (message) => {
      const said = JSON.parse(message.data as string) as { type: string; text?: string; error?: { detail: string } };
      if (said.type === "message") hear?.(Number(said.text));
      else if (said.type === "error") reject(new Error(said.error?.detail));
      else if (said.type === "following") {
        clearTimeout(timer);
        resolve({ say, close: () => socket.close() });
      }
    });
    socket.addEventListener("error", () => reject(new Error("A client could not connect.")));
  });
}
