// Ask once: a rule, a key, and what the limiter says, as a program would hear it.
import { createSignal, type JSX, Show } from "solid-js";
import type { Call } from "../../api/http";
import { duration } from "../../format";
import { Badge } from "../../parts/basics";
import { CallDrawer } from "../../parts/CallDrawer";
import { TextField } from "../../parts/fields";
import { fieldError, InlineError, toldByField } from "../../parts/states";
import { check, type Decision } from "./api";

/** What is left, how long to wait, and which policy spoke. */
function inWords(decision: Decision): string {
  if (decision.limit === null) return "There is no limit.";
  if (decision.limit === 0 && decision.over_limit) return "This is a ban: no wait helps.";
  const words = [`${decision.remaining} of ${decision.limit} left`];
  if (decision.retry_after_seconds) words.push(`again in ${duration(Math.ceil(decision.retry_after_seconds))}`);
  if (decision.allowed && decision.over_limit) {
    words.push(decision.delay_seconds ? `over the limit: to be held back ${duration(Math.ceil(decision.delay_seconds))}` : "over the limit");
  }
  if (decision.degraded) words.push("by the failure policy: the state cannot be reached");
  return words.join(", ");
}

const FIELDS = ["rule", "key", "cost"];

export function Check(): JSX.Element {
  const [rule, setRule] = createSignal("");
  const [key, setKey] = createSignal("ann");
  const [answer, setAnswer] = createSignal<{ decision: Decision; call: Call } | null>(null);
  const [error, setError] = createSignal<unknown>(null);
  const [busy, setBusy] = createSignal(false);

  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    if (busy()) return;
    setBusy(true);
    setError(null);
    setAnswer(null);
    try {
      const asked = rule().trim() || { name: "demo", limit: 5, period_seconds: 60 };
      const { data, call } = await check(asked, key(), 1);
      setAnswer({ decision: data, call });
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
  };

  return (
    <>
      <form class="stack" onSubmit={(event) => void submit(event)} novalidate>
        <div class="check-row">
          <TextField
            label="Rule"
            placeholder="demo: 5 a minute"
            hint="A rule's name; without one, five a minute."
            value={rule()}
            error={fieldError(error(), "rule")}
            onText={setRule}
          />
          <TextField label="Key" hint="Whose limit it is." value={key()} error={fieldError(error(), "key")} onText={setKey} />
          <button type="submit" class="button primary check-go" disabled={busy()}>
            Take one
          </button>
        </div>
        <Show when={error() && !toldByField(error(), FIELDS)}>
          <InlineError error={error()} />
        </Show>
      </form>
      <Show when={answer()}>
        {(made) => (
          <div class="stack check-answer" role="status">
            <p>
              <Badge tone={made().decision.allowed ? "good" : "bad"}>{made().decision.allowed ? "Allowed" : "Refused"}</Badge>{" "}
              {inWords(made().decision)}
            </p>
            <CallDrawer call={made().call} />
          </div>
        )}
      </Show>
    </>
  );
}
