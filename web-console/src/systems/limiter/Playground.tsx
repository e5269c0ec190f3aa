// The four algorithms on the same traffic, drawn beneath each other: who is let through, and who is not.
import { createEffect, createMemo, createSignal, For, type JSX, on, onCleanup, Show } from "solid-js";
import type { Call } from "../../api/http";
import { CallDrawer } from "../../parts/CallDrawer";
import { SelectField, TextField } from "../../parts/fields";
import { InlineError } from "../../parts/states";
import { ALGORITHMS, type Replayed, replay, titleOf } from "./api";
import { invent, PERIODS, SHAPES, type Shape } from "./traffic";

const PERIOD_SECONDS = 60;
const WIDTH = 720;
const PAUSE_MS = 250;

export function Playground(): JSX.Element {
  const [shape, setShape] = createSignal<Shape>("edge");
  const [text, setText] = createSignal("20");
  const [results, setResults] = createSignal<Replayed[]>([]);
  const [call, setCall] = createSignal<Call | null>(null);
  const [error, setError] = createSignal<unknown>(null);
  const limit = createMemo(() => Math.max(1, Math.min(200, Number.parseInt(text(), 10) || 1)));
  const events = createMemo(() => invent(shape(), limit(), PERIOD_SECONDS * 1000));
  let timer: number | undefined;
  let asked = 0;
  onCleanup(() => clearTimeout(timer));

  const run = async () => {
    const mine = ++asked;
    const rules = ALGORITHMS.map(({ value }) => ({
      name: value,
      algorithm: value,
      limit: limit(),
      period_seconds: PERIOD_SECONDS,
    }));
    try {
      const { data, call: made } = await replay(rules, events());
      if (mine !== asked) return;
      setResults(data.results);
      setCall(made);
      setError(null);
    } catch (problem) {
      if (mine === asked) setError(problem);
    }
  };
  createEffect(
    on(events, () => {
      clearTimeout(timer);
      timer = window.setTimeout(() => void run(), PAUSE_MS);
    }),
  );

  return (
    <div class="stack">
      <div class="playground-form">
        <SelectField
          label="Traffic"
          value={shape()}
          options={SHAPES}
          onChoose={(value) => setShape(value as Shape)}
        />
        <TextField label="Limit a minute" inputmode="numeric" value={text()} hint="1 to 200" onText={setText} />
      </div>
      <InlineError error={error()} />
      <ul class="lanes">
        <For each={results()}>
          {(result) => (
            <li class="lane">
              <p class="lane-head">
                <span class="strong">{titleOf(result.rule as (typeof ALGORITHMS)[number]["value"])}</span>
                <span class="quiet">
                  {result.allowed} pass, <span class="lane-denied">{result.denied} refused</span>
                </span>
              </p>
              <svg
                viewBox={`0 0 ${WIDTH} 36`}
                role="img"
                aria-label={`${result.allowed} requests pass, ${result.denied} are refused`}
                preserveAspectRatio="none"
              >
                <For each={Array.from({ length: PERIODS - 1 }, (_, number) => ((number + 1) * WIDTH) / PERIODS)}>
                  {(x) => <line class="lane-edge" x1={x} x2={x} y1="0" y2="36" />}
                </For>
                <For each={events()}>
                  {(event, index) => {
                    const x = () => (event.at_ms / (PERIODS * PERIOD_SECONDS * 1000)) * (WIDTH - 2) + 1;
                    const passes = () => result.admitted?.[index()] ?? true;
                    return (
                      <line
                        class={passes() ? "lane-pass" : "lane-refuse"}
                        x1={x()}
                        x2={x()}
                        y1={passes() ? 2 : 20}
                        y2={passes() ? 18 : 34}
                      />
                    );
                  }}
                </For>
              </svg>
            </li>
          )}
        </For>
      </ul>
      <p class="quiet small-text">
        Three minutes; above the middle passes, below is refused. The thin lines are the edges of a fixed window.
      </p>
      <Show when={call()}>{(made) => <CallDrawer call={made()} />}</Show>
    </div>
  );
}
