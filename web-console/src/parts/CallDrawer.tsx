// Under every action: the very call that was made, as curl, Python and JavaScript, and what came back.
import { createSignal, type JSX, Show } from "solid-js";
import type { Call } from "../api/http";
import { LANGUAGES, type Language, snippet } from "../api/snippets";
import { milliseconds } from "../format";
import { CopyButton } from "./basics";
import { Icon } from "./icons";
import { Tabs } from "./tabs";

type Panel = Language | "answer";

const PANELS: { id: Panel; title: string }[] = [...LANGUAGES, { id: "answer", title: "Answer" }];

export function CallDrawer(props: { call: Call; open?: boolean }): JSX.Element {
  const [panel, setPanel] = createSignal<Panel>("curl");
  const text = () => {
    const chosen = panel();
    return chosen === "answer" ? JSON.stringify(props.call.response, null, 2) : snippet(chosen, props.call);
  };
  const good = () => props.call.status < 400;
  return (
    <details class="call-drawer" open={props.open ?? false}>
      <summary>
        <Icon name="arrow" class="turns" />
        <span class="call-line">
          <b>{props.call.method}</b> <span class="call-path">{props.call.path}</span>
        </span>
        <span class="call-outcome" classList={{ bad: !good() }}>
          {props.call.status}
          <Show when={props.call.milliseconds}> · {milliseconds(props.call.milliseconds)}</Show>
        </span>
      </summary>
      <div class="call-body">
        <Tabs label="This call" tabs={PANELS} chosen={panel()} onChoose={setPanel}>
          <Code text={text()} what="the call" />
        </Tabs>
        <p class="field-note">
          The snippets read the key from the environment: <code>export TWELVEFOLD_KEY=tf_…</code>
        </p>
      </div>
    </details>
  );
}

/** A block of code with its copy button; it scrolls inside itself, so it can have the focus. */
export function Code(props: { text: string; what: string }): JSX.Element {
  return (
    <div class="code">
      <pre tabIndex={0} role="region" aria-label={props.what}>
        <code>{props.text}</code>
      </pre>
      <CopyButton text={props.text} what={props.what} class="bare" />
    </div>
  );
}
