// Short messages that come and go, most of them with a way back: "Deleted launch. Undo". They wait while the
// pointer or the focus is on them, and a screen reader hears them without losing its place.
import { createSignal, For, type JSX, Show } from "solid-js";
import { Icon } from "./icons";

interface Toast {
  id: number;
  text: string;
  tone: "plain" | "bad";
  act?: { title: string; run: () => void } | undefined;
}

const SHOWN_MS = 10_000;
const MOST_AT_ONCE = 3;
const [toasts, setToasts] = createSignal<Toast[]>([]);
const timers = new Map<number, number>();
let last = 0;

export function toast(text: string, options: { act?: Toast["act"]; tone?: Toast["tone"] } = {}): void {
  const id = ++last;
  setToasts((shown) => [...shown.slice(1 - MOST_AT_ONCE), { id, text, tone: options.tone ?? "plain", act: options.act }]);
  resume(id);
}

function dismiss(id: number): void {
  pause(id);
  setToasts((shown) => shown.filter((one) => one.id !== id));
}

function pause(id: number): void {
  clearTimeout(timers.get(id));
  timers.delete(id);
}

function resume(id: number): void {
  pause(id);
  timers.set(
    id,
    window.setTimeout(() => dismiss(id), SHOWN_MS),
  );
}

export function Toasts(): JSX.Element {
  return (
    <div class="toasts" role="status" aria-live="polite">
      <For each={toasts()}>
        {(one) => (
          <div
            class={`toast ${one.tone}`}
            onMouseEnter={() => pause(one.id)}
            onMouseLeave={() => resume(one.id)}
            onFocusIn={() => pause(one.id)}
            onFocusOut={() => resume(one.id)}
          >
            <span class="toast-text">{one.text}</span>
            <Show when={one.act}>
              {(act) => (
                <button
                  type="button"
                  class="toast-act"
                  onClick={() => {
                    dismiss(one.id);
                    act().run();
                  }}
                >
                  {act().title}
                </button>
              )}
            </Show>
            <button type="button" class="icon-button" aria-label="Dismiss" onClick={() => dismiss(one.id)}>
              <Icon name="close" />
            </button>
          </div>
        )}
      </For>
    </div>
  );
}
