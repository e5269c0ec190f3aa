// Try: shorten a link, share a text, make ids.
import { createSignal, type JSX, Match, Switch } from "solid-js";
import { Tabs } from "../../parts/tabs";
import { Ids } from "./Ids";
import { Paste } from "./Paste";
import { Shorten } from "./Shorten";

const TABS = [
  { id: "shorten", title: "Shorten" },
  { id: "paste", title: "Paste a text" },
  { id: "ids", title: "Make ids" },
] as const;

type Tab = (typeof TABS)[number]["id"];

export function Try(): JSX.Element {
  const [tab, setTab] = createSignal<Tab>("shorten");
  return (
    <div class="card try">
      <Tabs label="What to try" tabs={TABS} chosen={tab()} onChoose={setTab}>
        <Switch>
          <Match when={tab() === "shorten"}>
            <Shorten />
          </Match>
          <Match when={tab() === "paste"}>
            <Paste />
          </Match>
          <Match when={tab() === "ids"}>
            <Ids />
          </Match>
        </Switch>
      </Tabs>
    </div>
  );
}
