// How a total divides: a value, its count, and a bar as long as its share.
import { For, type JSX, Show } from "solid-js";
import { count } from "../format";

export interface Share {
  name: string;
  count: number;
}

export function Breakdown(props: { label: string; shares: readonly Share[]; empty: string }): JSX.Element {
  const whole = () => props.shares.reduce((sum, share) => sum + share.count, 0);
  const percent = (share: Share) => (whole() ? (100 * share.count) / whole() : 0);
  return (
    <Show when={props.shares.length} fallback={<p class="quiet">{props.empty}</p>}>
      <ul class="breakdown" aria-label={props.label}>
        <For each={props.shares}>
          {(share) => (
            <li>
              <span class="breakdown-bar" style={{ width: `${percent(share)}%` }} aria-hidden="true" />
              <span class="breakdown-name">{share.name}</span>
              <span class="breakdown-count">{count(share.count)}</span>
              <span class="breakdown-percent quiet">{percent(share).toFixed(0)}%</span>
            </li>
          )}
        </For>
      </ul>
    </Show>
  );
}
