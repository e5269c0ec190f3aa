// A link's clicks: live, then over a span of time, then divided by who came.
import { createMemo, createResource, createSignal, For, type JSX, onCleanup, Show } from "solid-js";
import { get, withQuery } from "../../api/http";
import { count, country } from "../../format";
import { Moment } from "../../parts/basics";
import { Breakdown } from "../../parts/Breakdown";
import { Chart, type Columns } from "../../parts/Chart";
import { ErrorState } from "../../parts/states";
import { Segments } from "../../parts/tabs";
import { type Click, type Dimension, type Link, linkPath, type Stats } from "./api";
import { type Watching, watchClicks } from "./live-clicks";

const HOUR_MS = 3_600_000;
const RANGES = [
  { id: "1h", title: "1 h", spanMs: HOUR_MS, interval: "hour" },
  { id: "24h", title: "24 h", spanMs: 24 * HOUR_MS, interval: "hour" },
  { id: "7d", title: "7 d", spanMs: 7 * 24 * HOUR_MS, interval: "hour" },
  { id: "30d", title: "30 d", spanMs: 30 * 24 * HOUR_MS, interval: "day" },
] as const;
type RangeId = (typeof RANGES)[number]["id"];

const DIMENSIONS = [
  { id: "country", title: "Country" },
  { id: "device", title: "Device" },
  { id: "browser", title: "Browser" },
  { id: "os", title: "System" },
  { id: "referrer", title: "From" },
] as const satisfies readonly { id: Dimension; title: string }[];

const STEP_SECONDS = 5;
const LIVE_SECONDS = 300;
const LATEST = 4;
/** Counts trail the live clicks by up to two seconds; asking sooner would find the old ones. */
const REFRESH_AFTER_MS = 3000;
/** Fewer bars than this say nothing that the total does not. */
const FEWEST_BARS = 4;

const hour = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat("en", { month: "short", day: "numeric" });
const dayHour = new Intl.DateTimeFormat("en", { month: "short", day: "numeric", hour: "2-digit", hourCycle: "h23" });

export function Clicks(props: { link: Link; onCounted: () => void }): JSX.Element {
  const [stale, setStale] = createSignal(0);
  let waiting: number | undefined;
  onCleanup(() => clearTimeout(waiting));
  const came = () => {
    waiting ??= window.setTimeout(() => {
      waiting = undefined;
      setStale((times) => times + 1);
      props.onCounted();
    }, REFRESH_AFTER_MS);
  };
  return (
    <div class="stack">
      <Live link={props.link} onClicks={came} />
      <Past link={props.link} stale={stale()} />
    </div>
  );
}

function Live(props: { link: Link; onClicks: () => void }): JSX.Element {
  const opened = Math.floor(Date.now() / 1000 / STEP_SECONDS) * STEP_SECONDS;
  const counts = new Map<number, number>();
  const [now, setNow] = createSignal(opened);
  const [latest, setLatest] = createSignal<Click[]>([]);
  const [watching, setWatching] = createSignal<Watching>("off");

  const step = () => Math.floor(Date.now() / 1000 / STEP_SECONDS) * STEP_SECONDS;
  const timer = setInterval(() => !document.hidden && setNow(step()), 1000);
  onCleanup(() => clearInterval(timer));
  watchClicks(props.link, {
    onState: setWatching,
    onClicks: (clicks, counted) => {
      const people = clicks.filter((click) => !click.bot);
      counts.set(step(), (counts.get(step()) ?? 0) + counted);
      setNow(step());
      setLatest((before) => [...people.toReversed(), ...before].slice(0, LATEST));
      props.onClicks();
    },
  });
  const columns = createMemo(
    (): Columns => {
      const from = now() - LIVE_SECONDS;
      const at = Array.from({ length: LIVE_SECONDS / STEP_SECONDS + 1 }, (_, index) => from + index * STEP_SECONDS);
      // Before this was opened nobody looked: a gap, not a zero.
      return [at, at.map((second) => (second < opened ? null : (counts.get(second) ?? 0)))];
    },
    undefined,
    { equals: false },
  );
  const words = () => ({ stream: "Live", polling: "Every 5 s", off: "Paused" })[watching()];

  return (
    <section class="live-clicks" aria-label="Live clicks">
      <div class="panel-head">
        <h3>Now</h3>
        <span class="live-mark" classList={{ on: watching() === "stream" }}>
          {words()}
        </span>
      </div>
      <Chart
        label="Clicks in the last five minutes, since this was opened"
        columns={columns}
        lines={[{ token: "accent", kind: "bars" }]}
        height={72}
      />
      <p class="chart-ends quiet" aria-hidden="true">
        <span>5 min ago</span>
        <span>now</span>
      </p>
      <ul class="latest" aria-live="polite" aria-label="Latest clicks">
        <For each={latest()} fallback={<li class="quiet">Clicks appear here as they happen.</li>}>
          {(click) => (
            <li>
              <Moment at={click.at} />
              <span class="clip">{click.country ? country(click.country) : "unknown country"}</span>
              <span class="clip">{[click.browser, click.os].filter(Boolean).join(" on ") || click.device}</span>
              <span class="clip quiet">{click.referrer ? `from ${click.referrer}` : "direct"}</span>
            </li>
          )}
        </For>
      </ul>
    </section>
  );
}

function Past(props: { link: Link; stale: number }): JSX.Element {
  const [range, setRange] = createSignal<RangeId>("24h");
  const [dimension, setDimension] = createSignal<Dimension>("country");
  const [point, setPoint] = createSignal<number | null>(null);
  const span = () => RANGES.find((one) => one.id === range()) ?? RANGES[1];
  const [stats, { refetch }] = createResource(
    () => ({ span: span(), group: dimension(), stale: props.stale, code: props.link.code }),
    ({ span: asked, group, code }) => {
      const to = Date.now();
      return get<Stats>(
        withQuery(`${linkPath(code)}/stats`, {
          from: new Date(to - asked.spanMs).toISOString(),
          to: new Date(to).toISOString(),
          interval: asked.interval,
          group,
        }),
      );
    },
  );
  const known = () => (stats.error ? undefined : stats.latest);
  const columns = (): Columns => [
    known()?.series.map((one) => Date.parse(one.at) / 1000) ?? [],
    known()?.series.map((one) => one.clicks) ?? [],
  ];
  const caption = () => {
    const index = point();
    const one = index === null ? undefined : known()?.series[index];
    if (!one) return `Clicks ${span().interval === "day" ? "a day" : "an hour"}`;
    const format = span().interval === "day" ? day : dayHour;
    return `${format.format(new Date(one.at))}: ${count(one.clicks)} clicks`;
  };
  const shares = () =>
    known()?.groups.map(({ value, clicks }) => ({ name: named(dimension(), value), count: clicks })) ?? [];

  return (
    <section class="past-clicks" aria-label="Clicks over time" aria-busy={stats.loading}>
      <div class="panel-head">
        <h3>Over time</h3>
        <Segments label="Time range" options={RANGES} chosen={range()} onChoose={setRange} />
      </div>
      <Show when={!stats.error} fallback={<ErrorState title="The counts could not be read" error={stats.error} onRetry={() => void refetch()} />}>
        <dl class="totals">
          <Total name="Clicks" value={known()?.totals.clicks} />
          <Total name="Visitors" value={known()?.totals.unique_visitors} />
          <Total name="Bots, left out" value={known()?.totals.bots} />
        </dl>
        <Show when={columns()[0].length >= FEWEST_BARS}>
          <Chart
            label={`Clicks over the last ${span().title}: ${count(known()?.totals.clicks)}`}
            columns={columns}
            lines={[{ token: "accent", kind: "bars" }]}
            height={160}
            axes
            format={count}
            formatTime={axisTime}
            onPoint={setPoint}
          />
          <p class="chart-caption quiet">{caption()}</p>
        </Show>
        <Segments label="Divide by" options={DIMENSIONS} chosen={dimension()} onChoose={setDimension} />
        <Breakdown label={`Clicks by ${dimension()}`} shares={shares()} empty="No clicks in this time." />
      </Show>
    </section>
  );
}

/** The hour, or at midnight the day. */
function axisTime(seconds: number): string {
  const moment = new Date(seconds * 1000);
  return moment.getHours() === 0 && moment.getMinutes() === 0 ? day.format(moment) : hour.format(moment);
}

function Total(props: { name: string; value: number | undefined }): JSX.Element {
  return (
    <div>
      <dt>{props.name}</dt>
      <dd>{count(props.value)}</dd>
    </div>
  );
}

function named(dimension: Dimension, value: string): string {
  if (!value) return dimension === "referrer" ? "Direct" : "Unknown";
  return dimension === "country" ? country(value) : value;
}
