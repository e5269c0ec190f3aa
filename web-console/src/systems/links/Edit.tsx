// The fields of a link, to change. Only what differs is sent, with the version that was read, so that a change by
// somebody else in between is not overwritten.
import { createSignal, type JSX, Show } from "solid-js";
import { createStore } from "solid-js/store";
import { ApiError, type Call } from "../../api/http";
import { CallDrawer } from "../../parts/CallDrawer";
import { TextField } from "../../parts/fields";
import { fieldError, InlineError, toldByField } from "../../parts/states";
import { changeLink, type Link, type LinkInput } from "./api";
import { changes, draftOf } from "./draft";
import { OPTION_FIELDS, Options } from "./Options";

interface EditProps {
  link: Link;
  onChanged: (link: Link) => void;
  onReload: () => void;
  onDelete: () => void;
}

export function Edit(props: EditProps): JSX.Element {
  const [draft, setDraft] = createStore(draftOf(props.link));
  const [error, setError] = createSignal<unknown>(null);
  const [call, setCall] = createSignal<Call | null>(null);
  const [busy, setBusy] = createSignal(false);
  const pending = () => changes(draft, props.link);
  const dirty = () => Object.keys(pending()).length > 0;
  const outdated = () => {
    const problem = error();
    return problem instanceof ApiError && problem.problem.code === "links.version_conflict";
  };

  const apply = async (input: LinkInput) => {
    setBusy(true);
    setError(null);
    try {
      const { data, call: made } = await changeLink(props.link.code, { ...input, version: props.link.version });
      setCall(made);
      props.onChanged(data);
      setDraft(draftOf(data));
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
  };
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    if (dirty() && !busy()) void apply(pending());
  };
  const reload = () => {
    setError(null);
    props.onReload();
  };

  return (
    <form class="stack" onSubmit={submit} novalidate>
      <TextField
        label="Leads to"
        inputmode="url"
        value={draft.url}
        error={fieldError(error(), "url")}
        onText={(text) => setDraft("url", text)}
      />
      <Options draft={draft} onChange={setDraft} error={error()} hasPassword={props.link.has_password} />
      <Show when={error() && !toldByField(error(), ["url", ...OPTION_FIELDS])}>
        <InlineError error={error()} />
        <Show when={outdated()}>
          <button type="button" class="button small" onClick={reload}>
            Read it again
          </button>
        </Show>
      </Show>
      <div class="edit-acts">
        <button type="submit" class="button primary" disabled={!dirty() || busy()}>
          Save
        </button>
        <Show when={dirty()}>
          <button type="button" class="button" onClick={() => setDraft(draftOf(props.link))}>
            Discard
          </button>
        </Show>
        <span class="edit-end">
          <Show when={props.link.state === "active" || props.link.state === "disabled"}>
            <button type="button" class="button" onClick={() => void apply({ disabled: props.link.state === "active" })}>
              {props.link.state === "active" ? "Disable" : "Enable"}
            </button>
          </Show>
          <button type="button" class="button danger" onClick={() => props.onDelete()}>
            Delete
          </button>
        </span>
      </div>
      <p class="only-heard" role="status">
        {call() && !dirty() ? "Saved" : ""}
      </p>
      <Show when={call()} keyed>
        {(made) => <CallDrawer call={made} />}
      </Show>
    </form>
  );
}
