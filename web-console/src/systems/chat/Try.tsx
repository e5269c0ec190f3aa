// Try: be somebody, and talk (a second window is somebody else); or measure how quickly many hear it.
import { createMemo, createSignal, type JSX, Match, onCleanup, Show, Switch } from "solid-js";
import { may } from "../../api/session";
import { TextField } from "../../parts/fields";
import { Empty } from "../../parts/states";
import { Tabs } from "../../parts/tabs";
import { Chat } from "./chat";
import { ChatWindow } from "./ChatWindow";
import { become, useMe, windowOf } from "./state";
import { Storm } from "./Storm";

const TABS = [
  { id: "talk", title: "Talk" },
  { id: "storm", title: "Storm" },
] as const;

export function Try(): JSX.Element {
  const [tab, setTab] = createSignal<(typeof TABS)[number]["id"]>("talk");
  return (
    <Tabs label="What to try" tabs={TABS} chosen={tab()} onChoose={setTab}>
      <Switch>
        <Match when={tab() === "talk"}>
          <Talk />
        </Match>
        <Match when={tab() === "storm"}>
          <Storm />
        </Match>
      </Switch>
    </Tabs>
  );
}

function Talk(): JSX.Element {
  const user = useMe();
  const chat = createMemo(() => {
    const name = user();
    if (!name || !may("chat:write")) return null;
    const made = new Chat(name);
    onCleanup(() => made.close());
    return made;
  });
  return (
    <Show when={may("chat:write")} fallback={<Barred />}>
      <Show when={chat()} fallback={<Door />} keyed>
        {(found) => <ChatWindow chat={found} />}
      </Show>
    </Show>
  );
}

function Barred(): JSX.Element {
  return (
    <Empty title="Your key may not chat">
      To speak for users it needs the scope <code>chat:write</code>. Sign in with another one, or make one under Keys.
    </Empty>
  );
}

function Door(): JSX.Element {
  const [name, setName] = createSignal("");
  const [error, setError] = createSignal<string | null>(null);
  const enter = (event: SubmitEvent) => {
    event.preventDefault();
    if (name().trim()) become(name().trim());
    else setError("Say a name.");
  };
  return (
    <div class="card chat-door">
      <div>
        <p class="state-title">Who are you?</p>
        <p class="quiet">
          Your own program decides who its users are; here you just say it. Be ann in this window and bob in another,
          and let them talk.
        </p>
      </div>
      <div class="state-acts">
        <button type="button" class="button primary" onClick={() => become("ann")}>
          Be ann here
        </button>
        <a class="button" href={windowOf("bob")} target="_blank" rel="noopener">
          Open a window as bob
        </a>
      </div>
      <form class="chat-door-form" onSubmit={enter} novalidate>
        <TextField
          label="Or somebody else"
          placeholder="carol"
          maxlength={128}
          value={name()}
          error={error()}
          onText={(text) => {
            setName(text);
            setError(null);
          }}
        />
        <button type="submit" class="button">
          Be this user
        </button>
      </form>
    </div>
  );
}
