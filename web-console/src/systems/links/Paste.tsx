// A text behind a short code: shared once or for a while.
import { createSignal, type JSX, Show } from "solid-js";
import { type Call, send } from "../../api/http";
import { CopyButton } from "../../parts/basics";
import { CallDrawer } from "../../parts/CallDrawer";
import { CheckField, Field, SelectField } from "../../parts/fields";
import { fieldError, InlineError, toldByField } from "../../parts/states";
import { shortened } from "./api";
import { EXPIRIES } from "./draft";

interface Made {
  code: string;
  short_url: string;
}

const SYNTAXES = [
  { value: "", title: "Plain text" },
  ...["bash", "c", "css", "go", "html", "java", "javascript", "json", "lua", "markdown", "python", "rust", "sql", "toml", "xml", "yaml"].map(
    (name) => ({ value: name, title: name }),
  ),
];
const LIVES = EXPIRIES.filter((one) => one.value !== "at");

export function Paste(): JSX.Element {
  const [text, setText] = createSignal("");
  const [syntax, setSyntax] = createSignal("");
  const [life, setLife] = createSignal("");
  const [burn, setBurn] = createSignal(false);
  const [error, setError] = createSignal<unknown>(null);
  const [made, setMade] = createSignal<{ paste: Made; call: Call } | null>(null);

  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    setError(null);
    try {
      const { data, call } = await send<Made>("POST", "/v1/pastes", {
        text: text(),
        ...(syntax() ? { syntax: syntax() } : {}),
        ...(life() ? { ttl_seconds: Number(life()) } : {}),
        ...(burn() ? { burn_after_reading: true } : {}),
      });
      setMade({ paste: data, call });
      setText("");
    } catch (problem) {
      setError(problem);
    }
  };

  return (
    <>
      <form class="stack" onSubmit={(event) => void submit(event)} novalidate>
        <Field label="Text" error={fieldError(error(), "text")} hint="Up to 1 MB.">
          {(attributes) => (
            <textarea {...attributes} rows={6} class="mono" spellcheck={false} value={text()} onInput={(event) => setText(event.currentTarget.value)} />
          )}
        </Field>
        <div class="paste-row">
          <SelectField label="Syntax" value={syntax()} options={SYNTAXES} onChoose={setSyntax} error={fieldError(error(), "syntax")} />
          <SelectField label="Expires" value={life()} options={LIVES} onChoose={setLife} error={fieldError(error(), "ttl_seconds")} />
          <CheckField label="Gone after the first reading" checked={burn()} onCheck={setBurn} />
          <button type="submit" class="button primary">
            Share
          </button>
        </div>
        <Show when={!toldByField(error(), ["text", "syntax", "ttl_seconds"])}>
          <InlineError error={error()} />
        </Show>
      </form>
      <div aria-live="polite">
        <Show when={made()} keyed>
          {({ paste, call }) => (
            <div class="result">
              <div class="result-main">
                <div class="result-text">
                  <a class="result-link" href={paste.short_url} target="_blank" rel="noreferrer">
                    {shortened(paste.short_url)}
                  </a>
                  <div class="result-acts">
                    <CopyButton text={paste.short_url} label="Copy link" what="the short link" class="primary" />
                  </div>
                </div>
              </div>
              <CallDrawer call={call} open />
            </div>
          )}
        </Show>
      </div>
    </>
  );
}
