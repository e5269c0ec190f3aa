// The live strip of a system's page: requests, latency, queue and errors of the last 15 minutes, on one time cursor.
import { createMemo, createSignal, type JSX, Show } from "solid-js";
import type { SystemStatus, Vital } from "../api/contracts";
import { seriesOf, type Series } from "../api/live";
import { count, milliseconds, rate } from "../format";
import { Chart, type Columns, type Line } from "./Chart";

interface Tile {
  title: string;
  vitals: readonly Vital[];
  lines: readonly Line[];
  /** The least that the top of the scale stands for: three errors must not look like three thousand. */
  leastTop?: number;
  format: (value: number | null | undefined) => string;
}

const TILES: readonly Tile[] = [
  {
    title: "Requests a second",
    vitals: ["requests_per_second"],
    lines: [{ token: "accent", filled: true }],
    format: rate,
  },
  {
    title: "Latency p50 / p99",
    vitals: ["p50_ms", "p99_ms"],
    lines: [{ token: "accent" }, { token: "text-quiet", dashed: true }],
    format: milliseconds,
  },
  { title: "Queue depth", vitals: ["queue_depth"], lines: [{ token: "accent", filled: true }], format: count },
  { title: "Errors a second", vitals: ["errors_per_second"], lines: [{ token: "bad", filled: true }], leastTop: 5, format: rate },
];

const time = new Intl.DateTimeFormat("en", { timeStyle: "medium", hourCycle: "h23" });
const WINDOW_SECONDS = 15 * 60;

export function LiveStrip(props: { system: SystemStatus }): JSX.Element {
  const [point, setPoint] = createSignal<number | null>(null);
  const series = createMemo(() => seriesOf(props.system.name), undefined, { equals: false });
  const pointedAt = () => {
    const index = point();
    const at = index === null ? undefined : series()?.at[index];
    return at === undefined ? null : time.format(at * 1000);
  };
  return (
    <section class="live-strip" aria-label="The last 15 minutes">
      {TILES.map((tile) => (
        <div class="live-tile">
          <p class="live-title">{tile.title}</p>
          <p class="live-figures">{figures(tile, props.system, series(), point())}</p>
          <Show when={series()} fallback={<div class="live-chart" />}>
            <div class="live-chart">
              <Chart
                label={summary(tile, props.system)}
                columns={() => columns(tile, series())}
                lines={tile.lines}
                height={48}
                leastTop={tile.leastTop}
                sync="live"
                range={() => lastWindow(series())}
                onPoint={setPoint}
              />
            </div>
          </Show>
        </div>
      ))}
      <p class="live-when" aria-hidden="true">
        {pointedAt() ?? "Last 15 minutes, live"}
      </p>
    </section>
  );
}

function columns(tile: Tile, series: Series | undefined): Columns {
  return [series?.at.slice() ?? [], ...tile.vitals.map((vital) => series?.[vital].slice() ?? [])];
}

function lastWindow(series: Series | undefined): [number, number] {
  const end = series?.at.at(-1) ?? Date.now() / 1000;
  return [end - WINDOW_SECONDS, end];
}

function figures(tile: Tile, system: SystemStatus, series: Series | undefined, point: number | null): string {
  const values = tile.vitals.map((vital) => (point === null ? system[vital] : series?.[vital][point]));
  return joined(values.map(tile.format));
}

function summary(tile: Tile, system: SystemStatus): string {
  return `${tile.title}: now ${joined(tile.vitals.map((vital) => tile.format(system[vital])))}`;
}

/** "0.3 / 1.2 ms": a unit that both share is said once. */
function joined(texts: readonly string[]): string {
  const unit = / [a-z]+$/.exec(texts.at(-1) ?? "")?.[0];
  const shared = unit !== undefined && texts.every((text) => text.endsWith(unit));
  return texts.map((text, index) => (shared && index < texts.length - 1 ? text.slice(0, -unit.length) : text)).join(" / ");
}
