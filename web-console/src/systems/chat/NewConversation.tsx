// A new conversation: with one other (there is one for each pair), or a group with a name.
import { createSignal, type JSX, Show } from "solid-js";
import { Dialog } from "../../parts/dialog";
import { TextField } from "../../parts/fields";
import { fieldError, InlineError, toldByField } from "../../parts/states";
import { Segments } from "../../parts/tabs";
import type { Chat } from "./chat";
import { openConversation } from "./state";

const KINDS = [
  { id: "direct", title: "With one other" },
  { id: "group", title: "Group" },
] as const;

export function NewConversation(props: { chat: Chat; onClose: () => void }): JSX.Element {
  const [kind, setKind] = createSignal<"direct" | "group">("direct");
  const [name, setName] = createSignal("");
  const [members, setMembers] = createSignal("");
  const [error, setError] = createSignal<unknown>(null);
  const [busy, setBusy] = createSignal(false);
  const names = () => [...new Set(members().split(/[,\n]/).map((one) => one.trim()).filter(Boolean))];

  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    if (busy()) return;
    setBusy(true);
    setError(null);
    try {
      const wanted = kind() === "direct" ? { kind: "direct" as const, members: names() } : { kind: "group" as const, name: name().trim(), members: names() };
      const { data, call } = await props.chat.api.create(wanted);
      props.chat.setCall(call);
      await props.chat.begun(data, kind() === "direct" ? (names()[0] ?? null) : null);
      props.onClose();
      openConversation(data.id);
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
  };
  return (
    <Dialog title="New conversation" onClose={props.onClose}>
      <form class="stack" onSubmit={(event) => void submit(event)} novalidate>
        <Segments label="Kind" options={KINDS} chosen={kind()} onChoose={setKind} />
        <Show when={kind() === "group"}>
          <TextField label="Name" placeholder="Lunch" value={name()} error={fieldError(error(), "name")} onText={setName} />
        </Show>
        <TextField
          label={kind() === "direct" ? "With whom" : "Members"}
          placeholder={kind() === "direct" ? "bob" : "bob, carol, dave"}
          hint={kind() === "direct" ? "Two people have one direct conversation; it is opened if it exists." : "Names, with commas between them. More can be taken in later."}
          value={members()}
          error={fieldError(error(), "members")}
          onText={setMembers}
        />
        <Show when={error() && !toldByField(error(), ["name", "members"])}>
          <InlineError error={error()} />
        </Show>
        <div class="dialog-acts">
          <button type="button" class="button" onClick={() => props.onClose()}>
            Cancel
          </button>
          <button type="submit" class="button primary" disabled={busy()}>
            Begin
          </button>
        </div>
      </form>
    </Dialog>
  );
}
