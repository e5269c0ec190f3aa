// Every drill, what it proves, and the command that runs it: gathered from the blueprints of the running systems.
import { createMemo, createResource, For, type JSX, Match, Show, Switch } from "solid-js";
import type { Card, LastRun } from "../api/contracts";
import { get } from "../api/http";
import { status } from "../api/live";
import { DrillRun, Skeleton } from "../parts/basics";
import { Inline } from "../parts/Markdown";
import { Empty, ErrorState } from "../parts/states";
import { Link } from "../router";

interface Drill {
  name: string;
  proves: string[];
  lastRun: LastRun | null;
}

export default function Drills(): JSX.Element {
  const names = createMemo(
    () => status.value?.systems.filter((system) => system.running).map((system) => system.name) ?? [],
    [],
    { equals: (before, after) => before.join() === after.join() },
  );
  const [cards, { refetch }] = createResource(names, (running) =>
    Promise.all(running.map((name) => get<Card>(`/v1/platform/systems/${name}`))),
  );
  const drilled = () => (cards.error ? [] : (cards() ?? [])).filter((card) => drillsOf(card).length > 0);
  return (
    <div class="page">
      <header class="page-head">
        <h1>Drills</h1>
        <p class="promise">A drill breaks something on purpose, then proves that nothing promised was lost.</p>
      </header>
      <Switch fallback={<Skeleton label="Reading the drills" lines={6} tall />}>
        <Match when={cards.error}>
          <ErrorState title="The drills could not be read" error={cards.error} onRetry={() => void refetch()} />
        </Match>
        <Match when={drilled().length}>
          <For each={drilled()}>
            {(card) => (
              <section class="section">
                <h2>
                  <Link to={`systems/${card.name}`}>{card.title}</Link>
                </h2>
                <ul class="drills">
                  <For each={drillsOf(card)}>{(drill) => <DrillItem drill={drill} />}</For>
                </ul>
              </section>
            )}
          </For>
        </Match>
        <Match when={status.value && !cards.loading}>
          <Empty title="No drills here">The running systems have none. Start another system, and its drills appear.</Empty>
        </Match>
      </Switch>
    </div>
  );
}

function DrillItem(props: { drill: Drill }): JSX.Element {
  return (
    <li class="drill">
      <DrillRun drill={props.drill.name} lastRun={props.drill.lastRun} />
      <p class="drill-proves quiet">
        <Show when={props.drill.proves.length > 1} fallback="Proves:">
          Proves each of:
        </Show>
      </p>
      <ul class="drill-promises">
        <For each={props.drill.proves}>
          {(promise) => (
            <li>
              <Inline text={promise} />
            </li>
          )}
        </For>
      </ul>
    </li>
  );
}

/** One drill may prove several promises; it is listed once. */
function drillsOf(card: Card): Drill[] {
  const drills = new Map<string, Drill>();
  for (const { drill, promise, last_run } of card.guarantees) {
    if (!drill) continue;
    const known = drills.get(drill) ?? { name: drill, proves: [], lastRun: last_run };
    known.proves.push(promise);
    drills.set(drill, known);
  }
  return [...drills.values()];
}
