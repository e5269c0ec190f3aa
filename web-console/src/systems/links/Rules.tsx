// Rules: in order, the first that fits a visitor decides; who fits none goes to the link's own address.
import { For, Index, type JSX, Show } from "solid-js";
import { TextField } from "../../parts/fields";
import { Icon } from "../../parts/icons";
import type { Rule } from "./api";

interface RulesProps {
  rules: readonly Rule[];
  error: string | null;
  onChange: (rules: Rule[]) => void;
}

const DEVICES = ["mobile", "tablet", "desktop", "other"];
const NEW_RULE: Rule = { when: {}, targets: [{ url: "", weight: 1 }] };

export function Rules(props: RulesProps): JSX.Element {
  const change = (index: number, rule: Rule) => props.onChange(props.rules.map((old, at) => (at === index ? rule : old)));
  const move = (index: number, by: number) => {
    const order = [...props.rules];
    const [moved] = order.splice(index, 1);
    if (moved) order.splice(index + by, 0, moved);
    props.onChange(order);
  };
  return (
    <fieldset class="rules">
      <legend>Rules</legend>
      <p class="field-note" role={props.error ? "alert" : undefined} classList={{ bad: Boolean(props.error) }}>
        {props.error ?? "Send some visitors elsewhere. The first rule that fits decides; the others go to the address above."}
      </p>
      <ol class="rule-list">
        <Index each={props.rules}>
          {(rule, index) => (
            <li class="rule">
              <div class="rule-head">
                <b>Rule {index + 1}</b>
                <span class="rule-acts">
                  <button type="button" class="icon-button" aria-label={`Move rule ${index + 1} up`} disabled={index === 0} onClick={() => move(index, -1)}>
                    <Icon name="up" />
                  </button>
                  <button
                    type="button"
                    class="icon-button"
                    aria-label={`Remove rule ${index + 1}`}
                    onClick={() => props.onChange(props.rules.filter((_, at) => at !== index))}
                  >
                    <Icon name="trash" />
                  </button>
                </span>
              </div>
              <RuleFields rule={rule()} onChange={(changed) => change(index, changed)} />
            </li>
          )}
        </Index>
      </ol>
      <button type="button" class="button small" onClick={() => props.onChange([...props.rules, structuredClone(NEW_RULE)])}>
        <Icon name="plus" />
        Add a rule
      </button>
    </fieldset>
  );
}

function RuleFields(props: { rule: Rule; onChange: (rule: Rule) => void }): JSX.Element {
  const when = (changes: Partial<Rule["when"]>) => {
    const merged = Object.entries({ ...props.rule.when, ...changes });
    const kept = merged.filter(([, value]) => value && (Array.isArray(value) ? value.length : Object.keys(value).length));
    props.onChange({ ...props.rule, when: Object.fromEntries(kept) as Rule["when"] });
  };
  const target = (index: number, changes: Partial<Rule["targets"][number]>) =>
    props.onChange({
      ...props.rule,
      targets: props.rule.targets.map((old, at) => (at === index ? { ...old, ...changes } : old)),
    });
  const several = () => props.rule.targets.length > 1;
  return (
    <>
      <div class="rule-when">
        <ListField label="Countries" placeholder="DE, AT" value={props.rule.when.country ?? []} upper onChange={(country) => when({ country })} />
        <ListField label="Languages" placeholder="de, fr" value={props.rule.when.language ?? []} onChange={(language) => when({ language })} />
        <TextField
          label="Query"
          placeholder="ref=poster"
          value={queryText(props.rule.when.query)}
          onChange={(event) => when({ query: queryOf(event.currentTarget.value) })}
          onText={() => undefined}
        />
        <fieldset class="rule-devices">
          <legend>Devices</legend>
          <For each={DEVICES}>
            {(device) => (
              <label>
                <input
                  type="checkbox"
                  checked={props.rule.when.device?.includes(device) ?? false}
                  onChange={(event) => {
                    const others = (props.rule.when.device ?? []).filter((one) => one !== device);
                    when({ device: event.currentTarget.checked ? [...others, device] : others });
                  }}
                />
                {device}
              </label>
            )}
          </For>
        </fieldset>
      </div>
      <Index each={props.rule.targets}>
        {(one, index) => (
          <div class="rule-target">
            <TextField
              label={several() ? `Address ${index + 1}` : "Address"}
              inputmode="url"
              placeholder="https://…"
              value={one().url}
              onText={(url) => target(index, { url })}
            />
            <Show when={several()}>
              <TextField
                label="Weight"
                type="number"
                min="1"
                class="weight"
                value={String(one().weight)}
                onText={(text) => target(index, { weight: Number(text) || 1 })}
              />
              <button
                type="button"
                class="icon-button"
                aria-label={`Remove address ${index + 1}`}
                onClick={() => props.onChange({ ...props.rule, targets: props.rule.targets.filter((_, at) => at !== index) })}
              >
                <Icon name="trash" />
              </button>
            </Show>
          </div>
        )}
      </Index>
      <button
        type="button"
        class="button small bare"
        onClick={() => props.onChange({ ...props.rule, targets: [...props.rule.targets, { url: "", weight: 1 }] })}
      >
        <Icon name="plus" />
        Split between addresses
      </button>
    </>
  );
}

function ListField(props: {
  label: string;
  placeholder: string;
  value: string[];
  upper?: boolean;
  onChange: (value: string[]) => void;
}): JSX.Element {
  const read = (text: string) => {
    const items = text.split(/[\s,]+/).filter(Boolean);
    return props.upper ? items.map((item) => item.toUpperCase()) : items;
  };
  return (
    <TextField
      label={props.label}
      placeholder={props.placeholder}
      value={props.value.join(", ")}
      onChange={(event) => props.onChange(read(event.currentTarget.value))}
      onText={() => undefined}
    />
  );
}

function queryText(query: Record<string, string> | undefined): string {
  return new URLSearchParams(query ?? {}).toString();
}

function queryOf(text: string): Record<string, string> {
  return Object.fromEntries(new URLSearchParams(text.trim()));
}
