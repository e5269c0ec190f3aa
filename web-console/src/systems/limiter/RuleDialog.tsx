// A rule's fields, for a new one or a stored one. What keys have used stays used when a rule changes.
import { createSignal, type JSX, Show } from "solid-js";
import { createStore } from "solid-js/store";
import { Dialog } from "../../parts/dialog";
import { CheckField, SelectField, TextField } from "../../parts/fields";
import { fieldError, InlineError, toldByField } from "../../parts/states";
import { toast } from "../../parts/toasts";
import { ALGORITHMS, type Algorithm, putRule, type Rule, type StoredRule } from "./api";

const KNOWN = ["rule.limit", "rule.period_seconds", "rule.name", "rule.mode", "name"];
const MODES = [
  { value: "exact", title: "Exact, in the shared state" },
  { value: "leased", title: "Leased to nodes" },
  { value: "local", title: "Local to each process" },
];
const FAILURES = [
  { value: "open", title: "Let through" },
  { value: "closed", title: "Refuse" },
  { value: "local", title: "Count in each process" },
];

/** A number, or the text itself where it is none: the server then says so, instead of taking nothing for "no limit". */
const whole = (text: string): number => (Number.isFinite(Number(text)) ? Number(text) : (text as unknown as number));

/** What a rule says beyond the fields here. */
function alsoSet(rule: Rule, algorithm: Algorithm): string {
  const words: string[] = [];
  if (rule.burst && algorithm === "token_bucket") words.push(`bursts of ${rule.burst}`);
  if (rule.action === "delay") words.push("delays instead of refusing");
  if (rule.action === "flag") words.push("flags instead of refusing");
  if (rule.penalty_seconds) words.push(`a penalty of ${rule.penalty_seconds} s`);
  if (rule.reach === "home") words.push("one limit for all data centres");
  if (rule.by && rule.by.join() !== "ip") words.push(`keys by ${rule.by.join(" and ") || "nothing: one for all"}`);
  return words.join("; ");
}

interface RuleDialogProps {
  stored: StoredRule | null;
  onClose: () => void;
  onSaved: (rule: StoredRule) => void;
}

export function RuleDialog(props: RuleDialogProps): JSX.Element {
  const before = props.stored?.rule;
  const [draft, setDraft] = createStore({
    name: before?.name ?? "",
    limit: before ? String(before.limit ?? "") : "100",
    period: String(before?.period_seconds ?? 60),
    algorithm: before?.algorithm ?? ("token_bucket" as Algorithm),
    mode: before?.mode ?? "exact",
    failure: before?.failure ?? "open",
    shadow: before?.shadow ?? false,
    record: before?.record ?? false,
    note: before?.note ?? "",
  });
  const [error, setError] = createSignal<unknown>(null);
  const [busy, setBusy] = createSignal(false);

  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    if (busy()) return;
    setBusy(true);
    setError(null);
    const rule: Partial<Rule> = {
      ...(before ?? {}),
      name: draft.name.trim(),
      limit: draft.limit.trim() === "" ? null : whole(draft.limit),
      period_seconds: whole(draft.period),
      algorithm: draft.algorithm,
      // What the chosen algorithm does not know would have it refused, and has no field here.
      burst: draft.algorithm === "token_bucket" ? (before?.burst ?? null) : null,
      calendar: draft.algorithm === "fixed_window" ? (before?.calendar ?? null) : null,
      zone: draft.algorithm === "fixed_window" ? (before?.zone ?? "UTC") : "UTC",
      mode: draft.mode as Rule["mode"],
      failure: draft.failure as Rule["failure"],
      shadow: draft.shadow,
      record: draft.record,
      note: draft.note,
    };
    try {
      const { data } = await putRule(draft.name.trim() || "-", rule, props.stored?.version ?? "0");
      toast(`“${data.name}” holds from now on.`);
      props.onSaved(data);
      props.onClose();
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
  };
  const calendar = () => (draft.algorithm === "fixed_window" ? before?.calendar : null);
  const fault = (field: string) => fieldError(error(), `rule.${field}`);
  const wholeFault = (field: string, text: string) => fault(field) && (/^\s*\d*\s*$/.test(text) ? fault(field) : "This is no whole number.");

  return (
    <Dialog title={before ? `Rule “${before.name}”` : "A new rule"} onClose={props.onClose}>
      <form class="stack" onSubmit={(event) => void submit(event)} novalidate>
        <div class="rule-fields">
          <TextField
            label="Name"
            value={draft.name}
            disabled={Boolean(before)}
            placeholder="api"
            error={fault("name") ?? fieldError(error(), "name")}
            onText={(text) => setDraft("name", text)}
          />
          <SelectField
            label="Algorithm"
            value={draft.algorithm}
            options={
              draft.algorithm === "concurrency"
                ? [...ALGORITHMS, { value: "concurrency", title: "Places at once" }]
                : ALGORITHMS
            }
            onChoose={(value) => setDraft("algorithm", value as Algorithm)}
          />
          <TextField
            label="Limit"
            inputmode="numeric"
            value={draft.limit}
            hint="Empty: no limit. 0: a ban."
            error={wholeFault("limit", draft.limit)}
            onText={(text) => setDraft("limit", text)}
          />
          <TextField
            label="Every so many seconds"
            inputmode="numeric"
            value={calendar() ? "" : draft.period}
            disabled={Boolean(calendar())}
            placeholder={calendar() ? "by the calendar" : ""}
            hint={calendar() ? `Begins anew each ${calendar()}, ${before?.zone}.` : undefined}
            error={wholeFault("period_seconds", draft.period)}
            onText={(text) => setDraft("period", text)}
          />
          <SelectField label="Mode" value={draft.mode} options={MODES} error={fault("mode")} onChoose={(value) => setDraft("mode", value as Rule["mode"])} />
          <SelectField
            label="When the state is away"
            value={draft.failure}
            options={FAILURES}
            onChoose={(value) => setDraft("failure", value as Rule["failure"])}
          />
        </div>
        <TextField label="Note" value={draft.note} onText={(text) => setDraft("note", text)} />
        <CheckField
          label="Shadow"
          hint="Only count what would have been refused."
          checked={draft.shadow}
          onCheck={(checked) => setDraft("shadow", checked)}
        />
        <CheckField
          label="Record traffic"
          hint="Keeps the last minutes for a replay."
          checked={draft.record}
          onCheck={(checked) => setDraft("record", checked)}
        />
        <Show when={before && alsoSet(before, draft.algorithm)}>
          {(words) => <p class="quiet small-text">Also set, and kept: {words()}. The API changes these.</p>}
        </Show>
        <Show when={error() && !toldByField(error(), KNOWN)}>
          <InlineError error={error()} />
        </Show>
        <div class="dialog-acts">
          <button type="button" class="button" onClick={() => props.onClose()}>
            Cancel
          </button>
          <button type="submit" class="button primary" disabled={busy()}>
            Save
          </button>
        </div>
      </form>
    </Dialog>
  );
}
