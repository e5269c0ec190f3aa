// Form fields: a label, a control, what it means, and what the server said about it.
import { createUniqueId, type JSX, Show, splitProps } from "solid-js";

interface FieldProps {
  label: string;
  hint?: string | undefined;
  error?: string | null;
  class?: string;
  children: (attributes: { id: string; "aria-describedby": string; "aria-invalid": boolean }) => JSX.Element;
}

export function Field(props: FieldProps): JSX.Element {
  const id = createUniqueId();
  return (
    <div class={`field ${props.class ?? ""}`} classList={{ invalid: Boolean(props.error) }}>
      <label for={id}>{props.label}</label>
      {props.children({
        id,
        "aria-describedby": `${id}-note`,
        get "aria-invalid"() {
          return Boolean(props.error);
        },
      })}
      <p class="field-note" id={`${id}-note`} role={props.error ? "alert" : undefined}>
        <Show when={props.error} fallback={props.hint}>
          {props.error}
        </Show>
      </p>
    </div>
  );
}

type InputProps = Omit<JSX.InputHTMLAttributes<HTMLInputElement>, "onInput"> & {
  label: string;
  hint?: string | undefined;
  error?: string | null;
  class?: string;
  onText: (text: string) => void;
};

export function TextField(props: InputProps): JSX.Element {
  const [own, rest] = splitProps(props, ["label", "hint", "error", "class", "onText"]);
  return (
    <Field label={own.label} hint={own.hint} error={own.error ?? null} class={own.class ?? ""}>
      {(attributes) => (
        <input
          type="text"
          autocomplete="off"
          spellcheck={false}
          {...rest}
          {...attributes}
          onInput={(event) => own.onText(event.currentTarget.value)}
        />
      )}
    </Field>
  );
}

export function SelectField(props: {
  label: string;
  value: string;
  options: readonly { value: string; title: string }[];
  onChoose: (value: string) => void;
  hint?: string | undefined;
  error?: string | null;
  class?: string;
}): JSX.Element {
  return (
    <Field label={props.label} hint={props.hint} error={props.error ?? null} class={props.class ?? ""}>
      {(attributes) => (
        <select {...attributes} value={props.value} onChange={(event) => props.onChoose(event.currentTarget.value)}>
          {props.options.map((option) => (
            <option value={option.value} selected={option.value === props.value}>
              {option.title}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
}

export function CheckField(props: {
  label: string;
  checked: boolean;
  onCheck: (checked: boolean) => void;
  hint?: string;
}): JSX.Element {
  const id = createUniqueId();
  return (
    <div class="check-field">
      <input
        type="checkbox"
        id={id}
        checked={props.checked}
        aria-describedby={props.hint ? `${id}-note` : undefined}
        onChange={(event) => props.onCheck(event.currentTarget.checked)}
      />
      <label for={id}>{props.label}</label>
      <Show when={props.hint}>
        <p class="field-note" id={`${id}-note`}>
          {props.hint}
        </p>
      </Show>
    </div>
  );
}
