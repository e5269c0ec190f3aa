// API keys: who may do what. A key is shown once, when it is made; a revoked one can be taken back for ten minutes.
import { createSignal, type JSX, Show } from "solid-js";
import type { ApiKey, Page } from "../api/contracts";
import { get, send, withQuery } from "../api/http";
import { sessionState } from "../api/session";
import { exact } from "../format";
import { Badge, Copyable, Moment } from "../parts/basics";
import { type Column, DataTable } from "../parts/DataTable";
import { Confirm } from "../parts/dialog";
import { Icon } from "../parts/icons";
import { createPages } from "../parts/pages";
import { Empty } from "../parts/states";
import { toast } from "../parts/toasts";
import { parameter, setQuery } from "../router";
import { NewKey } from "./NewKey";

export default function Keys(): JSX.Element {
  const [doomed, setDoomed] = createSignal<ApiKey | null>(null);
  const pages = createPages<ApiKey>(
    () => null,
    (cursor, signal) => get<Page<ApiKey>>(withQuery("/v1/keys", { cursor, limit: 100 }), signal),
  );
  const making = parameter("new");

  const revoke = async (key: ApiKey) => {
    try {
      await send("DELETE", `/v1/keys/${key.id}`);
      pages.reload();
      toast(`Revoked “${key.name}”.`, { act: { title: "Undo", run: () => void restore(key) } });
    } catch (error) {
      toast(`“${key.name}” was not revoked: ${(error as Error).message}`, { tone: "bad" });
    }
  };
  const restore = async (key: ApiKey) => {
    try {
      await send("POST", `/v1/keys/${key.id}/restore`);
      pages.reload();
      toast(`“${key.name}” works again.`);
    } catch (error) {
      toast(`“${key.name}” stays revoked: ${(error as Error).message}`, { tone: "bad" });
    }
  };

  const columns: Column<ApiKey>[] = [
    { id: "name", title: "Name", track: "minmax(0, 2fr)", cell: (key) => <KeyName apiKey={key} /> },
    {
      id: "scopes",
      title: "May do",
      track: "minmax(0, 2fr)",
      wideOnly: true,
      cell: (key) => <span class="clip mono">{key.scopes.join(" ")}</span>,
    },
    { id: "tier", title: "Tier", track: "96px", wideOnly: true, cell: (key) => key.tier },
    { id: "used", title: "Last used", track: "104px", wideOnly: true, cell: (key) => <Moment at={key.last_used_at} none="never" /> },
    { id: "made", title: "Made", track: "104px", wideOnly: true, cell: (key) => <Moment at={key.created_at} /> },
    { id: "state", title: "State", track: "112px", cell: (key) => <KeyState apiKey={key} /> },
    {
      id: "act",
      title: "",
      track: "88px",
      end: true,
      cell: (key) => (
        <Show
          when={!key.revoked_at}
          fallback={
            <Show when={canComeBack(key)}>
              <button type="button" class="button small" onClick={() => void restore(key)}>
                Restore
              </button>
            </Show>
          }
        >
          <button type="button" class="button small" aria-label={`Revoke ${key.name}`} onClick={() => setDoomed(key)}>
            Revoke
          </button>
        </Show>
      ),
    },
  ];

  return (
    <div class="page">
      <header class="page-head with-act">
        <div>
          <h1>Keys</h1>
          <p class="promise">What programs sign their requests with. Each may do what its scopes say, and nothing else.</p>
        </div>
        <button type="button" class="button primary" onClick={() => setQuery({ new: "1" })}>
          <Icon name="plus" />
          New key
        </button>
      </header>
      <DataTable
        label="API keys"
        noun="key"
        columns={columns}
        pages={pages}
        id={(key) => key.id}
        name={(key) => key.name}
        dim={(key) => Boolean(key.revoked_at)}
        onDelete={(key) => !key.revoked_at && setDoomed(key)}
        empty={
          <Empty
            title="No keys yet"
            action={
              <button type="button" class="button primary" onClick={() => setQuery({ new: "1" })}>
                Make the first key
              </button>
            }
          >
            A key lets a program use this API in your name, within the scopes you give it.
          </Empty>
        }
      />
      <Show when={making()}>
        <NewKey onClose={() => setQuery({ new: null }, { replace: true })} onMade={pages.reload} />
      </Show>
      <Show when={doomed()}>
        {(key) => (
          <Confirm
            question={`Revoke the key “${key().name}”?`}
            act={`Revoke “${key().name}”`}
            onClose={() => setDoomed(null)}
            onConfirm={() => void revoke(key())}
          >
            Programs that use it are refused from the next request on. You can take this back for ten minutes.
            <Show when={isOwn(key())}> This is the key you are signed in with: you will be signed out.</Show>
          </Confirm>
        )}
      </Show>
    </div>
  );
}

function KeyName(props: { apiKey: ApiKey }): JSX.Element {
  return (
    <span class="two-lines">
      <span class="clip strong">{props.apiKey.name}</span>
      <Copyable text={props.apiKey.id} shown={`${props.apiKey.prefix}…`} what="the id of this key" />
    </span>
  );
}

function KeyState(props: { apiKey: ApiKey }): JSX.Element {
  const over = () => props.apiKey.expires_at !== null && Date.parse(props.apiKey.expires_at) < Date.now();
  const note = () => (props.apiKey.expires_at ? `Expires ${exact(props.apiKey.expires_at)}` : undefined);
  return (
    <span title={note()}>
      <Show when={props.apiKey.revoked_at} fallback={<Badge tone={over() ? "warn" : "good"}>{over() ? "Expired" : "Active"}</Badge>}>
        <Badge tone="off">Revoked</Badge>
      </Show>
    </span>
  );
}

const UNDO_MS = 10 * 60 * 1000;

function canComeBack(key: ApiKey): boolean {
  return Boolean(key.revoked_at) && Date.now() - Date.parse(key.revoked_at ?? "") < UNDO_MS;
}

function isOwn(key: ApiKey): boolean {
  const state = sessionState();
  return state.kind === "in" && state.session.key.id === key.id;
}
