// All systems at a glance: up or not, how much, how fast, how far behind; and the engines below them.
import { For, type JSX, Match, Show, Switch } from "solid-js";
import type { SystemStatus } from "../api/contracts";
import { retryNow, seriesOf, status } from "../api/live";
import { EngineList } from "../frame/EngineHealth";
import { GROUPS, systemsOf } from "../frame/Navigation";
import { count, milliseconds, rate } from "../format";
import { Copyable, Dot, HowToStart, Moment, PartialNote, Skeleton } from "../parts/basics";
import { Sparkline } from "../parts/Sparkline";
import { ErrorState } from "../parts/states";
import { Link } from "../router";

export function Overview(): JSX.Element {
  return (
    <div class="page">
      <header class="page-head">
        <h1>Overview</h1>
        <Show when={status.value}>
          {(now) => (
            <p class="quiet facts">
              <span>Version {now().version}</span>
              <span>
                started <Moment at={now().started_at} />
              </span>
              <Show when={now().data_dir}>
                {(folder) => (
                  <span class="fact-path">
                    data in <Copyable text={folder()} what="the data folder" />
                  </span>
                )}
              </Show>
            </p>
          )}
        </Show>
      </header>
      <Switch fallback={<Skeleton label="Reading the status" lines={8} tall />}>
        <Match when={status.value}>
          <PartialNote />
          <Running />
          <Asleep />
          <section class="section">
            <h2>Engines</h2>
            <div class="card">
              <EngineList />
            </div>
          </section>
        </Match>
        <Match when={status.error}>
          <ErrorState title="The status could not be read" error={status.error} onRetry={retryNow} />
        </Match>
      </Switch>
    </div>
  );
}

function Running(): JSX.Element {
  const running = () => GROUPS.flatMap((group) => systemsOf(group.id)).filter((system) => system.running);
  return (
    <section class="section">
      <h2>Running</h2>
      <Show when={running().length} fallback={<p class="quiet">No system is running. Start one with a command below.</p>}>
        <div class="vitals" role="table" aria-label="Running systems">
          <div class="vitals-row vitals-head" role="row">
            <span role="columnheader">System</span>
            <span role="columnheader" class="end">
              Requests/s
            </span>
            <span role="columnheader" class="vitals-spark">
              <span class="only-heard">Last 15 minutes</span>
            </span>
            <span role="columnheader" class="end">
              p50
            </span>
            <span role="columnheader" class="end">
              p99
            </span>
            <span role="columnheader" class="end">
              Queue
            </span>
            <span role="columnheader" class="end">
              Errors/s
            </span>
          </div>
          <For each={running()}>{(system) => <VitalsRow system={system} />}</For>
        </div>
      </Show>
    </section>
  );
}

function VitalsRow(props: { system: SystemStatus }): JSX.Element {
  const failing = () => (props.system.errors_per_second ?? 0) > 0;
  return (
    <div class="vitals-row" role="row">
      <span role="cell" class="vitals-name">
        <Dot tone={failing() ? "warn" : "good"} />
        <span>
          <Link to={`systems/${props.system.name}`}>{props.system.title}</Link>
          <span class="vitals-promise quiet">{props.system.promise}</span>
        </span>
      </span>
      <span role="cell" class="end" data-label="Requests/s">
        {rate(props.system.requests_per_second)}
      </span>
      <span role="cell" class="vitals-spark">
        <Sparkline values={seriesOf(props.system.name)?.requests_per_second ?? []} />
      </span>
      <span role="cell" class="end" data-label="p50">
        {milliseconds(props.system.p50_ms)}
      </span>
      <span role="cell" class="end" data-label="p99">
        {milliseconds(props.system.p99_ms)}
      </span>
      <span role="cell" class="end" data-label="Queue">
        {count(props.system.queue_depth)}
      </span>
      <span role="cell" class="end" classList={{ warn: failing() }} data-label="Errors/s">
        {rate(props.system.errors_per_second)}
      </span>
    </div>
  );
}

function Asleep(): JSX.Element {
  const asleep = () => GROUPS.flatMap((group) => systemsOf(group.id)).filter((system) => !system.running);
  return (
    <Show when={asleep().length}>
      <section class="section">
        <h2>Not running</h2>
        <ul class="asleep-list">
          <For each={asleep()}>
            {(system) => (
              <li>
                <div>
                  <Link to={`systems/${system.name}`} class="asleep-name">
                    {system.title}
                  </Link>
                  <p class="quiet">{system.promise}</p>
                </div>
                <HowToStart system={system} />
              </li>
            )}
          </For>
        </ul>
      </section>
    </Show>
  );
}
