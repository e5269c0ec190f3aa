// Shorten: one address, one button; everything else is under "More". Then the link, its QR code and its call.
import { createSignal, type JSX, Show } from "solid-js";
import { createStore } from "solid-js/store";
import type { Call } from "../../api/http";
import { CopyButton } from "../../parts/basics";
import { CallDrawer } from "../../parts/CallDrawer";
import { TextField } from "../../parts/fields";
import { Icon } from "../../parts/icons";
import { fieldError, InlineError, toldByField } from "../../parts/states";
import { setQuery } from "../../router";
import { createLink, type Link, linkPath, shortened } from "./api";
import { creation, EMPTY } from "./draft";
import { OPTION_FIELDS, Options } from "./Options";
import { announce } from "./state";

export function Shorten(): JSX.Element {
  const [draft, setDraft] = createStore(structuredClone(EMPTY));
  const [error, setError] = createSignal<unknown>(null);
  const [made, setMade] = createSignal<{ link: Link; call: Call } | null>(null);
  const [busy, setBusy] = createSignal(false);
  let address: HTMLInputElement | undefined;

  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    if (busy()) return;
    setBusy(true);
    setError(null);
    try {
      const { data, call } = await createLink(creation(draft));
      setMade({ link: data, call });
      announce({ kind: "made", link: data });
      setDraft({ url: "", alias: "" });
    } catch (problem) {
      setError(problem);
      address?.focus();
    }
    setBusy(false);
  };

  return (
    <>
      <form class="stack" onSubmit={(event) => void submit(event)} novalidate>
        <div class="shorten-row">
          <TextField
            ref={address}
            label="Address"
            class="shorten-url"
            inputmode="url"
            placeholder="https://example.com/a/long/address"
            value={draft.url}
            error={fieldError(error(), "url")}
            onText={(text) => setDraft("url", text)}
          />
          <TextField
            label="Alias"
            class="shorten-alias"
            placeholder="made for you"
            value={draft.alias}
            error={fieldError(error(), "alias")}
            onText={(text) => setDraft("alias", text)}
          />
          <button type="submit" class="button primary shorten-go" disabled={busy()}>
            Shorten
          </button>
        </div>
        <details class="more">
          <summary>
            <Icon name="arrow" class="turns" />
            More: expiry, limits, password, tags, rules
          </summary>
          <Options draft={draft} onChange={setDraft} error={error()} making />
        </details>
        <Show when={!toldByField(error(), ["url", "alias", ...OPTION_FIELDS])}>
          <InlineError error={error()} />
        </Show>
      </form>
      <div aria-live="polite">
        <Show when={made()} keyed>
          {(result) => <Result link={result.link} call={result.call} />}
        </Show>
      </div>
    </>
  );
}

function Result(props: { link: Link; call: Call }): JSX.Element {
  return (
    <div class="result">
      <div class="result-main">
        <img class="qr" src={`${linkPath(props.link.code)}/qr.svg`} alt={`QR code of ${props.link.short_url}`} width="96" height="96" />
        <div class="result-text">
          <a class="result-link" href={props.link.short_url} target="_blank" rel="noreferrer">
            {shortened(props.link.short_url)}
          </a>
          <p class="quiet clip">leads to {props.link.url}</p>
          <div class="result-acts">
            <CopyButton text={props.link.short_url} label="Copy link" what="the short link" class="primary" />
            <button type="button" class="button small" onClick={() => setQuery({ open: props.link.code })}>
              Open details
            </button>
          </div>
        </div>
      </div>
      <CallDrawer call={props.call} open />
    </div>
  );
}
