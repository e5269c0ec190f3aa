// Making a key: a name, what it may do, how much, how long. The key itself is shown once, here.
import { createSignal, For, type JSX, Show } from "solid-js";
import type { ApiKey } from "../api/contracts";
import { type Call, send } from "../api/http";
import { status } from "../api/live";
import { CopyButton } from "../parts/basics";
import { CallDrawer } from "../parts/CallDrawer";
import { Dialog } from "../parts/dialog";
import { CheckField, SelectField, TextField } from "../parts/fields";
import { fieldError, InlineError, toldByField } from "../parts/states";

const TIERS = [
  { value: "free", title: "Free" },
  { value: "pro", title: "Pro" },
  { value: "enterprise", title: "Enterprise" },
];
const LIVES = [
  { value: "", title: "Never" },
  { value: "1", title: "In a day" },
  { value: "30", title: "In 30 days" },
  { value: "365", title: "In a year" },
];
/** What belongs to no system. This console itself needs `platform:read`. */
const HOUSE = [
  { area: "platform", title: "Platform", verbs: ["read"] },
  { area: "keys", title: "Keys", verbs: ["read", "write"] },
];
const DAY_MS = 86_400_000;

export function NewKey(props: { onClose: () => void; onMade: () => void }): JSX.Element {
  const [name, setName] = createSignal("");
  const [scopes, setScopes] = createSignal<string[]>(["*"]);
  const [tier, setTier] = createSignal("free");
  const [days, setDays] = createSignal("");
  const [error, setError] = createSignal<unknown>(null);
  const [made, setMade] = createSignal<{ key: ApiKey & { key: string }; call: Call } | null>(null);
  const choices = () => {
    const systems = status.value?.systems.filter((system) => system.running) ?? [];
    const areas = [...systems.map(({ name: area, title }) => ({ area, title, verbs: ["read", "write", "admin"] })), ...HOUSE];
    return areas.flatMap(({ area, title, verbs }) =>
      verbs.map((verb) => ({ scope: `${area}:${verb}`, title: `${title}: ${verb}` })),
    );
  };

  const toggle = (scope: string, on: boolean) =>
    setScopes((known) => {
      if (scope === "*") return on ? ["*"] : [];
      const before = known.includes("*") ? choices().map((choice) => choice.scope) : known;
      const others = before.filter((one) => one !== scope);
      return on ? [...others, scope] : others;
    });
  const whatIsMissing = () => {
    if (!name().trim()) return "Give the key a name that says who uses it.";
    return scopes().length === 0 ? "Choose at least one thing that the key may do." : null;
  };
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    setError(null);
    const missing = whatIsMissing();
    if (missing) {
      setError(new Error(missing));
      return;
    }
    const expires = days() ? { expires_at: new Date(Date.now() + Number(days()) * DAY_MS).toISOString() } : {};
    try {
      const { data, call } = await send<ApiKey & { key: string }>("POST", "/v1/keys", {
        name: name().trim(),
        scopes: scopes(),
        tier: tier(),
        ...expires,
      });
      // The drawer shows the answer; the key in it was seen once already, above.
      setMade({ key: data, call: { ...call, response: { ...data, key: "tf_…" } } });
      props.onMade();
    } catch (problem) {
      setError(problem);
    }
  };

  return (
    <Dialog title={made() ? "The key is made" : "New key"} onClose={props.onClose}>
      <Show when={made()} fallback={<form class="stack" onSubmit={(event) => void submit(event)} novalidate>
        <TextField
          label="Name"
          hint="Who uses it: “ci”, “newsletter”."
          autofocus
          maxLength={80}
          value={name()}
          error={fieldError(error(), "name")}
          onText={setName}
        />
        <fieldset class="checks">
          <legend>May do</legend>
          <CheckField label="Everything" checked={scopes().includes("*")} onCheck={(on) => toggle("*", on)} />
          <For each={choices()}>
            {({ scope, title }) => (
              <CheckField
                label={title}
                checked={scopes().includes("*") || scopes().includes(scope)}
                onCheck={(on) => toggle(scope, on)}
              />
            )}
          </For>
        </fieldset>
        <div class="pair">
          <SelectField label="Tier" value={tier()} options={TIERS} onChoose={setTier} error={fieldError(error(), "tier")} />
          <SelectField label="Expires" value={days()} options={LIVES} onChoose={setDays} error={fieldError(error(), "expires_at")} />
        </div>
        <Show when={!toldByField(error(), ["name", "tier", "expires_at"])}>
          <InlineError error={error()} />
        </Show>
        <div class="dialog-acts">
          <button type="button" class="button" onClick={() => props.onClose()}>
            Cancel
          </button>
          <button type="submit" class="button primary">
            Make the key
          </button>
        </div>
      </form>}>
        {(result) => (
          <div class="stack">
            <p>
              This is the only time that it is shown. Copy it now and keep it where <b>{result().key.name}</b> can read it.
            </p>
            <div class="secret">
              <code>{result().key.key}</code>
              <CopyButton text={result().key.key} what="the key" />
            </div>
            <CallDrawer call={result().call} />
            <div class="dialog-acts">
              <button type="button" class="button primary" onClick={() => props.onClose()}>
                Done
              </button>
            </div>
          </div>
        )}
      </Show>
    </Dialog>
  );
}
