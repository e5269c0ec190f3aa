// One link, opened: its clicks, its fields, what it pointed to before, its QR code.
import { createResource, createSignal, For, type JSX, Match, Show, Switch } from "solid-js";
import { get } from "../../api/http";
import { count } from "../../format";
import { Copyable, Moment, Skeleton } from "../../parts/basics";
import { Dialog } from "../../parts/dialog";
import { Icon } from "../../parts/icons";
import { ErrorState } from "../../parts/states";
import { Tabs } from "../../parts/tabs";
import { type Change, type Link, linkPath, shortened } from "./api";
import { Clicks } from "./Clicks";
import { Edit } from "./Edit";
import { StateBadge } from "./LinksTable";
import { announce, deleteWithUndo } from "./state";
import "./sheet.css";

const TABS = [
  { id: "clicks", title: "Clicks" },
  { id: "edit", title: "Edit" },
  { id: "history", title: "History" },
  { id: "qr", title: "QR code" },
] as const;

type Tab = (typeof TABS)[number]["id"];

export function LinkSheet(props: { code: string; onClose: () => void }): JSX.Element {
  const [link, { mutate, refetch }] = createResource(
    () => props.code,
    (code) => get<Link>(linkPath(code)),
  );
  const [tab, setTab] = createSignal<Tab>("clicks");
  const changed = (now: Link) => {
    mutate(now);
    announce({ kind: "changed", link: now });
  };
  const recount = async () => {
    const now = await refetch();
    if (now) announce({ kind: "changed", link: now });
  };
  const known = () => (link.error ? undefined : link.latest);
  return (
    <Dialog
      title={`Link ${props.code}`}
      kind="sheet"
      onClose={props.onClose}
      head={
        <div class="sheet-title">
          <h2 class="clip">{props.code}</h2>
          <Show when={known()}>{(one) => <StateBadge state={one().state} />}</Show>
        </div>
      }
    >
      <Switch fallback={<Skeleton label="Reading the link" lines={8} tall />}>
        <Match when={link.error}>
          <ErrorState title="This link could not be read" error={link.error} onRetry={() => void refetch()} />
        </Match>
        <Match when={known()}>
          {(one) => (
            <>
              <Summary link={one()} />
              <Tabs label="About this link" tabs={TABS} chosen={tab()} onChoose={setTab}>
                <Switch>
                  <Match when={tab() === "clicks"}>
                    <Clicks link={one()} onCounted={() => void recount()} />
                  </Match>
                  <Match when={tab() === "edit"}>
                    <Edit
                      link={one()}
                      onChanged={changed}
                      onReload={() => void refetch()}
                      onDelete={() => {
                        props.onClose();
                        void deleteWithUndo(one());
                      }}
                    />
                  </Match>
                  <Match when={tab() === "history"}>
                    <History link={one()} />
                  </Match>
                  <Match when={tab() === "qr"}>
                    <QrCode link={one()} />
                  </Match>
                </Switch>
              </Tabs>
            </>
          )}
        </Match>
      </Switch>
    </Dialog>
  );
}

function Summary(props: { link: Link }): JSX.Element {
  return (
    <div class="sheet-summary">
      <Copyable text={props.link.short_url} shown={shortened(props.link.short_url)} what="the short link" />
      <a class="sheet-target" href={props.link.url} target="_blank" rel="noreferrer noopener">
        <span class="clip">{props.link.title || shortened(props.link.url)}</span>
        <Icon name="external" />
      </a>
      <p class="quiet small-text facts">
        <span>{count(props.link.clicks)} clicks</span>
        <Show when={props.link.max_clicks !== null}>
          <span>{count(props.link.clicks_left)} left</span>
        </Show>
        <span>
          made <Moment at={props.link.created_at} />
        </span>
        <Show when={props.link.expires_at}>
          {(at) => (
            <span>
              expires <Moment at={at()} />
            </span>
          )}
        </Show>
        <Show when={props.link.has_password}>
          <span>password</span>
        </Show>
      </p>
    </div>
  );
}

function History(props: { link: Link }): JSX.Element {
  const [changes, { refetch }] = createResource(
    () => props.link.version,
    () => get<{ items: Change[] }>(`${linkPath(props.link.code)}/history`),
  );
  return (
    <Switch fallback={<Skeleton label="Reading the history" lines={4} />}>
      <Match when={changes.error}>
        <ErrorState title="The history could not be read" error={changes.error} onRetry={() => void refetch()} />
      </Match>
      <Match when={changes()}>
        {(found) => (
          <ol class="history">
            <For each={found().items}>
              {(change) => (
                <li>
                  <p>
                    <b>{change.change}</b> <Moment at={change.changed_at} />
                  </p>
                  <p class="quiet clip" title={change.url}>
                    {shortened(change.url)}
                  </p>
                </li>
              )}
            </For>
          </ol>
        )}
      </Match>
    </Switch>
  );
}

function QrCode(props: { link: Link }): JSX.Element {
  const path = (form: "svg" | "png") => `${linkPath(props.link.code)}/qr.${form}`;
  const name = (form: "svg" | "png") => `${props.link.code}.${form}`;
  return (
    <div class="qr-panel">
      <img class="qr" src={path("svg")} alt={`QR code of ${props.link.short_url}`} width="208" height="208" />
      <div class="qr-acts">
        <a class="button" href={path("svg")} download={name("svg")}>
          Download SVG
        </a>
        <a class="button" href={`${path("png")}?scale=16`} download={name("png")}>
          Download PNG
        </a>
      </div>
    </div>
  );
}
