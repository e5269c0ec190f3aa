// The parts of a system's page that its blueprint card fills: guarantees, trade-offs, ways to connect.
import { createSignal, For, type JSX, Show } from "solid-js";
import type { Card, Guarantee, TradeOff } from "../api/contracts";
import { DrillRun } from "./basics";
import { Icon } from "./icons";
import { Inline, Markdown } from "./Markdown";
import { Tabs } from "./tabs";

export function Guarantees(props: { guarantees: readonly Guarantee[] }): JSX.Element {
  return (
    <ul class="guarantees">
      <For each={props.guarantees}>
        {(guarantee) => (
          <li>
            <Icon name="drill" />
            <div class="guarantee-body">
              <p>
                <Inline text={guarantee.promise} />
              </p>
              <Show when={guarantee.drill} fallback={<p class="quiet">Proven by the tests.</p>}>
                {(drill) => <DrillRun drill={drill()} lastRun={guarantee.last_run} />}
              </Show>
            </div>
          </li>
        )}
      </For>
    </ul>
  );
}

const chosen = (row: TradeOff, side: "a" | "b") => {
  const choice = row.choice.trim().toLowerCase();
  const option = (side === "a" ? row.option_a : row.option_b).toLowerCase();
  return choice === side || choice === `option_${side}` || choice === option;
};

export function TradeOffs(props: { rows: readonly TradeOff[] }): JSX.Element {
  return (
    <div class="trade-offs">
      <For each={props.rows}>
        {(row) => (
          <article class="trade-off">
            <h3>{row.decision}</h3>
            <div class="trade-off-options">
              <Option name={row.option_a} chosen={chosen(row, "a")} />
              <Option name={row.option_b} chosen={chosen(row, "b")} />
            </div>
            <p>
              <Inline text={row.why} />
            </p>
            <p class="quiet">
              <b>At the cost of:</b> <Inline text={row.cost} />
            </p>
          </article>
        )}
      </For>
    </div>
  );
}

function Option(props: { name: string; chosen: boolean }): JSX.Element {
  return (
    <div class="option" classList={{ chosen: props.chosen }}>
      <p class="option-name">
        <Inline text={props.name} />
        <Show when={props.chosen}>
          <span class="option-mark">Our choice</span>
        </Show>
      </p>
    </div>
  );
}

export function Connect(props: { recipes: Card["connect"] }): JSX.Element {
  const [client, setClient] = createSignal(props.recipes[0]?.client ?? "");
  const recipe = () => props.recipes.find((one) => one.client === client());
  return (
    <Show when={props.recipes.length} fallback={<p class="quiet">No other client speaks this protocol yet.</p>}>
      <Tabs
        label="Clients"
        tabs={props.recipes.map((one) => ({ id: one.client, title: one.client }))}
        chosen={client()}
        onChoose={setClient}
      >
        <Markdown text={recipe()?.how ?? ""} />
      </Tabs>
    </Show>
  );
}
