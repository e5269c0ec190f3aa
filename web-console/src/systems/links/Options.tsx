// The fields of a link beyond its address: the same when it is made and when it is changed.
import { type JSX, Show } from "solid-js";
import type { SetStoreFunction } from "solid-js/store";
import { CheckField, SelectField, TextField } from "../../parts/fields";
import { fieldError } from "../../parts/states";
import { type Draft, EXPIRIES, REDIRECTS } from "./draft";
import { Rules } from "./Rules";

export const OPTION_FIELDS = ["expires_at", "ttl_seconds", "max_clicks", "password", "tags", "note", "redirect", "rules"];

interface OptionsProps {
  draft: Draft;
  onChange: SetStoreFunction<Draft>;
  error: unknown;
  making?: boolean;
  hasPassword?: boolean;
}

export function Options(props: OptionsProps): JSX.Element {
  const wrong = (field: string) => fieldError(props.error, field);
  const permanent = () => props.draft.redirect === "301" || props.draft.redirect === "308";
  return (
    <div class="options">
      <SelectField
        label="Expires"
        value={props.draft.expiry}
        options={EXPIRIES}
        error={props.draft.expiry === "at" ? null : (wrong("expires_at") ?? wrong("ttl_seconds"))}
        onChoose={(value) => props.onChange("expiry", value)}
      />
      <Show when={props.draft.expiry === "at"}>
        <TextField
          label="Expires at"
          type="datetime-local"
          value={props.draft.expiresAt}
          error={wrong("expires_at")}
          onText={(text) => props.onChange("expiresAt", text)}
        />
      </Show>
      <TextField
        label="Most clicks"
        type="number"
        min="1"
        placeholder="no limit"
        hint="Exact, however many come at once."
        value={props.draft.maxClicks}
        error={wrong("max_clicks")}
        onText={(text) => props.onChange("maxClicks", text)}
      />
      <TextField
        label="Password"
        type="password"
        autocomplete="new-password"
        placeholder={props.hasPassword ? "unchanged" : "none"}
        value={props.draft.password}
        error={wrong("password")}
        onText={(text) => props.onChange("password", text)}
      />
      <SelectField
        label="Redirect"
        value={props.draft.redirect}
        options={REDIRECTS}
        hint={permanent() ? "Browsers remember it: later clicks are not counted, and a change is not seen." : undefined}
        error={wrong("redirect")}
        onChoose={(value) => props.onChange("redirect", value)}
      />
      <TextField
        label="Tags"
        placeholder="autumn, newsletter"
        value={props.draft.tags}
        error={wrong("tags")}
        onText={(text) => props.onChange("tags", text)}
      />
      <TextField
        label="Note"
        placeholder="for yourself"
        value={props.draft.note}
        error={wrong("note")}
        onText={(text) => props.onChange("note", text)}
      />
      <Show when={props.making}>
        <CheckField
          label="Reuse an existing link"
          hint="If this address has a link already, give that one back."
          checked={props.draft.dedupe}
          onCheck={(checked) => props.onChange("dedupe", checked)}
        />
      </Show>
      <Show when={props.hasPassword}>
        <CheckField
          label="Remove the password"
          checked={props.draft.removePassword}
          onCheck={(checked) => props.onChange("removePassword", checked)}
        />
      </Show>
      <Rules rules={props.draft.rules} error={wrong("rules")} onChange={(rules) => props.onChange("rules", rules)} />
    </div>
  );
}
