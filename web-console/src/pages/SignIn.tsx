// The door: an API key, or the one-time link that `twelvefold up` prints (exchanged before this page is shown).
import { createSignal, type JSX, Show } from "solid-js";
import { sessionState, signIn } from "../api/session";
import { BrandMark } from "../frame/Frame";
import { TextField } from "../parts/fields";
import { InlineError } from "../parts/states";

export function SignIn(): JSX.Element {
  const [key, setKey] = createSignal("");
  const [error, setError] = createSignal<unknown>(null);
  const [busy, setBusy] = createSignal(false);
  const reason = () => {
    const state = sessionState();
    return state.kind === "out" ? state.reason : null;
  };
  document.title = "Sign in · Twelvefold";

  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    if (!key().trim()) {
      setError(new Error("Paste an API key first; it begins with tf_."));
      return;
    }
    setBusy(true);
    setError(null);
    try {
      await signIn(key().trim());
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
  };

  return (
    <main class="alone">
      <form class="sign-in" onSubmit={(event) => void submit(event)} novalidate>
        <div class="brand large">
          <BrandMark />
          Twelvefold
        </div>
        <Show when={reason()}>
          {(text) => (
            <div class="notice" role="alert">
              <p>{text()}</p>
              <p class="quiet">
                A one-time link works once and for a short while. Sign in with a key, or take a fresh link from where
                Twelvefold was started.
              </p>
            </div>
          )}
        </Show>
        <TextField
          label="API key"
          type="password"
          name="api_key"
          autocomplete="current-password"
          placeholder="tf_…"
          autofocus
          value={key()}
          onText={setKey}
        />
        <InlineError error={error()} />
        <button type="submit" class="button primary wide" disabled={busy()}>
          Sign in
        </button>
        <p class="quiet small-text">
          On this machine, <code>twelvefold up</code> prints a link that signs you in.
        </p>
      </form>
    </main>
  );
}
