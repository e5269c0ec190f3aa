// The way around: the systems by what they do, then what belongs to the whole house.
import { For, type JSX, Show } from "solid-js";
import type { Group, SystemStatus } from "../api/contracts";
import { status } from "../api/live";
import { Icon, type IconName } from "../parts/icons";
import { Link, path } from "../router";

export const GROUPS: { id: Group; title: string }[] = [
  { id: "serve", title: "Serve" },
  { id: "talk", title: "Talk" },
  { id: "place", title: "Place" },
  { id: "protect", title: "Protect" },
  { id: "compute", title: "Compute" },
];

export const HOUSE: { to: string; title: string; icon: IconName }[] = [
  { to: "keys", title: "Keys", icon: "key" },
  { to: "drills", title: "Drills", icon: "drill" },
  { to: "docs", title: "API reference", icon: "book" },
];

export function systemsOf(group: Group): SystemStatus[] {
  return status.value?.systems.filter((system) => system.group === group) ?? [];
}

export function Navigation(): JSX.Element {
  return (
    <nav class="nav" aria-label="Console">
      <Entry to="" title="Overview" icon="overview" />
      <For each={GROUPS}>
        {(group) => (
          <Show when={systemsOf(group.id).length}>
            <h2 class="nav-group" id={`nav-${group.id}`}>
              {group.title}
            </h2>
            <ul aria-labelledby={`nav-${group.id}`}>
              <For each={systemsOf(group.id)}>{(system) => <SystemEntry system={system} />}</For>
            </ul>
          </Show>
        )}
      </For>
      <h2 class="nav-group">House</h2>
      <For each={HOUSE}>{(entry) => <Entry {...entry} />}</For>
    </nav>
  );
}

function Entry(props: { to: string; title: string; icon: IconName }): JSX.Element {
  return (
    <Link to={props.to} class="nav-entry" aria-current={path() === props.to ? "page" : undefined}>
      <Icon name={props.icon} />
      {props.title}
    </Link>
  );
}

function SystemEntry(props: { system: SystemStatus }): JSX.Element {
  const to = () => `systems/${props.system.name}`;
  const hint = () => {
    if (props.system.running) return undefined;
    const command = props.system.start_command;
    return command ? `Not running. Start it: ${command}` : "Not in this version yet";
  };
  return (
    <li>
      <Link
        to={to()}
        class="nav-entry"
        classList={{ asleep: !props.system.running }}
        aria-current={path() === to() ? "page" : undefined}
        title={hint()}
      >
        <span class="nav-dot" aria-hidden="true" />
        {props.system.title}
        <Show when={!props.system.running}>
          <span class="only-heard">, not running</span>
        </Show>
      </Link>
    </li>
  );
}
