// Says when the server is out of reach, and when the next attempt is; what is shown then is what was last known.
import { createEffect, createSignal, type JSX, onCleanup, Show } from "solid-js";
import { connection, retryNow } from "../api/live";

/** A restart takes about a second; nobody needs to read about it. */
const PATIENCE_MS = 1500;

export function ConnectionBanner(): JSX.Element {
  const [told, setTold] = createSignal(false);
  const [seconds, setSeconds] = createSignal(0);
  let since: number | null = null;

  createEffect(() => {
    const state = connection();
    if (state.kind === "live") {
      since = null;
      setTold(false);
      return;
    }
    if (state.kind !== "lost") return;
    since ??= Date.now();
    const tick = () => {
      setSeconds(Math.max(0, Math.ceil((state.retryAt - Date.now()) / 1000)));
      setTold(Date.now() - (since ?? Date.now()) >= PATIENCE_MS);
    };
    tick();
    const timer = setInterval(tick, 250);
    onCleanup(() => clearInterval(timer));
  });

  return (
    <div role="status">
      <Show when={told()}>
        <div class="banner">
          <span>
            <b>Out of touch with the server.</b> What you see may be old.{" "}
            <span aria-hidden="true">{seconds() > 0 ? `Next try in ${seconds()} s.` : "Trying…"}</span>
          </span>
          <button type="button" class="button small" onClick={retryNow}>
            Try now
          </button>
        </div>
      </Show>
    </div>
  );
}
