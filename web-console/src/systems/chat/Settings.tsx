// What a conversation is called and how fast its members may write; for those whose role allows it.
import { createSignal, type JSX, Show } from "solid-js";
import { duration } from "../../format";
import { SelectField, TextField } from "../../parts/fields";
import { fieldError, InlineError, toldByField } from "../../parts/states";
import { toast } from "../../parts/toasts";
import type { Chat } from "./chat";
import type { Room } from "./room";

const STEPS = [5, 10, 30, 60, 300, 900, 3600];
const FIELDS = ["name", "slow_mode_seconds"] as const;

export function Settings(props: { chat: Chat; room: Room }): JSX.Element {
  const { chat, room } = props;
  const now = () => room.listed.conversation;
  const [name, setName] = createSignal(now().name);
  const [slow, setSlow] = createSignal(String(now().slow_mode_seconds));
  const [error, setError] = createSignal<unknown>(null);
  const [busy, setBusy] = createSignal(false);
  /** A pace that was set by another program is a choice, too. */
  const options = () => [
    { value: "0", title: "Off" },
    ...[...new Set([...STEPS, Number(slow()) || STEPS[0]!])]
      .sort((one, other) => one - other)
      .map((seconds) => ({ value: String(seconds), title: `One message every ${duration(seconds)}` })),
  ];
  const changed = () => ({
    ...(name().trim() === now().name ? {} : { name: name().trim() }),
    ...(Number(slow()) === now().slow_mode_seconds ? {} : { slow_mode_seconds: Number(slow()) }),
  });
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    if (busy() || !Object.keys(changed()).length) return;
    setBusy(true);
    setError(null);
    try {
      const { data, call } = await chat.api.settle(room.id, changed());
      chat.setCall(call);
      room.setListed("conversation", { name: data.name, slow_mode_seconds: data.slow_mode_seconds });
      toast("Saved. Everybody in it is told.");
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
  };
  return (
    <form class="room-settings" aria-label="This conversation" onSubmit={(event) => void submit(event)} novalidate>
      <TextField label="Name" placeholder="Lunch" maxlength={200} value={name()} error={fieldError(error(), "name")} onText={setName} />
      <SelectField
        label="Slow mode"
        hint="Moderators and owners write as they like."
        value={slow()}
        options={options()}
        error={fieldError(error(), "slow_mode_seconds")}
        onChoose={setSlow}
      />
      <Show when={error() && !toldByField(error(), FIELDS)}>
        <InlineError error={error()} />
      </Show>
      <div>
        <button type="submit" class="button" disabled={busy() || !Object.keys(changed()).length}>
          Save
        </button>
      </div>
    </form>
  );
}
