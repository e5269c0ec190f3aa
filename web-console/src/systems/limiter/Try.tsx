// Try: the algorithms side by side, or one check.
import { createSignal, type JSX, Match, Switch } from "solid-js";
import { Tabs } from "../../parts/tabs";
import { Check } from "./Check";
import { Playground } from "./Playground";

const TABS = [
  { id: "playground", title: "Compare algorithms" },
  { id: "check", title: "Ask a rule" },
] as const;

type Tab = (typeof TABS)[number]["id"];

export function Try(): JSX.Element {
  const [tab, setTab] = createSignal<Tab>("playground");
  return (
    <div class="card try">
      <Tabs label="What to try" tabs={TABS} chosen={tab()} onChoose={setTab}>
        <Switch>
          <Match when={tab() === "playground"}>
            <Playground />
          </Match>
          <Match when={tab() === "check"}>
            <Check />
          </Match>
        </Switch>
      </Tabs>
    </div>
  );
}
