// The two panes: conversations, and the open one; a third for a thread. On a phone one at a time.
import { createEffect, createMemo, createSignal, For, type JSX, Match, on, Show, Switch } from "solid-js";
import { count, relative, clock } from "../../format";
import { Dot, Skeleton } from "../../parts/basics";
import { CallDrawer } from "../../parts/CallDrawer";
import { Icon } from "../../parts/icons";
import { ErrorState, InlineError } from "../../parts/states";
import { parameter } from "../../router";
import { titleOf } from "./api";
import type { Chat } from "./chat";
import { NewConversation } from "./NewConversation";
import type { Room } from "./room";
import { RoomPane } from "./RoomPane";
import { Found } from "./Search";
import { become, openConversation, windowOf } from "./state";

const DETOUR = "Something between here and the server refuses WebSockets. Messages come all the same, by plain requests; a live line is tried again.";

export function ChatWindow(props: { chat: Chat }): JSX.Element {
  const id = parameter("chat");
  const room = createMemo(() => (id() ? (props.chat.room(id()) ?? null) : null));
  const [making, setMaking] = createSignal(false);
  const [words, setWords] = createSignal("");
  createEffect(on(room, (now) => props.chat.opened(now)));
  const empty = () => !props.chat.loading() && !props.chat.error() && props.chat.rooms().length === 0;

  return (
    <div class="chat-all">
      <div class="chat" classList={{ "in-room": Boolean(id()) }}>
        <aside class="chat-side" aria-label="Your conversations">
          <Who chat={props.chat} />
          <div class="chat-find">
            <div class="filter-words">
              <Icon name="search" />
              <input
                type="search"
                aria-label="Search messages"
                placeholder="Search messages"
                value={words()}
                onInput={(event) => setWords(event.currentTarget.value)}
              />
            </div>
            <button type="button" class="icon-button" aria-label="New conversation" onClick={() => setMaking(true)}>
              <Icon name="plus" />
            </button>
          </div>
          <Show when={!words().trim()} fallback={<Found chat={props.chat} words={words().trim()} />}>
            <ConversationList chat={props.chat} open={id()} />
          </Show>
        </aside>
        <section class="chat-main" aria-label="Conversation">
          <Switch>
            <Match when={room()} keyed>
              {(found) => <RoomPane chat={props.chat} room={found} />}
            </Match>
            <Match when={id() && !props.chat.loading()}>
              <div class="chat-nothing">
                <p class="state-title">You are not in this conversation</p>
                <p class="quiet">Perhaps it is another user's: conversations belong to those who are in them.</p>
                <button type="button" class="button" onClick={() => openConversation(null)}>
                  Back to your conversations
                </button>
              </div>
            </Match>
            <Match when={empty()}>
              <FirstSteps chat={props.chat} onNew={() => setMaking(true)} />
            </Match>
            <Match when={true}>
              <div class="chat-nothing quiet">
                <Show when={!props.chat.loading()}>Choose a conversation.</Show>
              </div>
            </Match>
          </Switch>
        </section>
      </div>
      <Show when={props.chat.call()} keyed>
        {(call) => <CallDrawer call={call} />}
      </Show>
      <Show when={making()}>
        <NewConversation chat={props.chat} onClose={() => setMaking(false)} />
      </Show>
    </div>
  );
}

/** Who one is, and whether the line is there. */
function Who(props: { chat: Chat }): JSX.Element {
  const state = () => props.chat.line.state();
  const words = () => ({ opening: "Connecting…", live: "Connected", detour: "Connected by long poll", lost: "Reconnecting…", closed: "Ended" })[state().kind];
  return (
    <header class="chat-who">
      <Face name={props.chat.user} />
      <div class="chat-who-text">
        <span class="strong clip">{props.chat.user}</span>
        <span class="quiet small-text chat-line" role="status" title={state().kind === "detour" ? DETOUR : undefined}>
          <Dot tone={props.chat.line.there() ? "good" : state().kind === "closed" ? "bad" : "warn"} />
          {words()}
        </span>
      </div>
      <Show
        when={state().kind === "lost" || state().kind === "closed"}
        fallback={
          <button type="button" class="icon-button" aria-label="Be somebody else" title="Be somebody else" onClick={() => become("")}>
            <Icon name="out" />
          </button>
        }
      >
        <button type="button" class="button small" onClick={() => props.chat.line.retry()}>
          Try now
        </button>
      </Show>
    </header>
  );
}

function ConversationList(props: { chat: Chat; open: string }): JSX.Element {
  const near = (event: globalThis.Event & { currentTarget: HTMLElement }) => {
    const { scrollTop, clientHeight, scrollHeight } = event.currentTarget;
    if (scrollHeight - scrollTop - clientHeight < 200) void props.chat.extend();
  };
  return (
    <Switch>
      <Match when={props.chat.error()}>
        <div class="chat-list">
          <ErrorState title="Your conversations could not be read" error={props.chat.error()} onRetry={() => void props.chat.refresh()} />
        </div>
      </Match>
      <Match when={props.chat.loading() && props.chat.rooms().length === 0}>
        <div class="chat-list chat-list-bones">
          <Skeleton label="Reading your conversations" lines={5} tall />
        </div>
      </Match>
      <Match when={true}>
        <ul class="chat-list" onScroll={near}>
          <For each={props.chat.sorted()}>
            {(room) => <ConversationRow chat={props.chat} room={room} open={room.id === props.open} />}
          </For>
        </ul>
      </Match>
    </Switch>
  );
}

function ConversationRow(props: { chat: Chat; room: Room; open: boolean }): JSX.Element {
  const listed = () => props.room.listed;
  const last = createMemo(() => props.room.last());
  const preview = () => {
    const entry = last();
    // Of a conversation that was not opened, only the newest entries are here.
    if (!entry) return props.room.whole() ? "No messages yet" : "No message among the newest entries";
    const { is } = entry;
    const what = is.deleted ? "took a message back" : is.text || (is.attachments.length ? "sent a file" : "");
    return is.deleted ? `${is.author} ${what}` : `${is.author === props.chat.user ? "You" : is.author}: ${what}`;
  };
  let row: HTMLLIElement | undefined;
  // What is open is in the list's view, also where it is far down.
  createEffect(() => {
    if (!props.open) return;
    requestAnimationFrame(() => {
      const list = row?.closest(".chat-list");
      if (!row || !list) return;
      const { offsetTop: top, offsetHeight: height } = row;
      if (top < list.scrollTop || top + height > list.scrollTop + list.clientHeight) list.scrollTop = top - list.clientHeight / 2;
    });
  });
  return (
    <li ref={row}>
      <a
        class="chat-row"
        href={windowOf(props.chat.user, props.room.id)}
        aria-current={props.open ? "true" : undefined}
        onClick={(event) => {
          if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
          event.preventDefault();
          openConversation(props.room.id);
        }}
      >
        <Face
          name={titleOf(listed())}
          group={listed().conversation.kind !== "direct"}
          online={listed().peer ? props.chat.online[listed().peer ?? ""] : undefined}
        />
        <span class="chat-row-text">
          <span class="chat-row-head">
            <span class="clip strong">{titleOf(listed())}</span>
            <span class="quiet small-text chat-row-when">{last() ? relative(last()?.is.at ?? "", clock()) : ""}</span>
          </span>
          <span class="chat-row-head">
            <span class="clip quiet small-text">
              <Show when={props.room.typing().length} fallback={preview()}>
                <span class="chat-typing">{props.room.typing()[0]} is writing…</span>
              </Show>
            </span>
            <Show when={listed().unread > 0}>
              <span class="chat-unread">
                {count(listed().unread)}
                <span class="only-heard"> unread</span>
              </span>
            </Show>
          </span>
        </span>
      </a>
    </li>
  );
}

const FACES = 6;

/** A name's first letter on its colour; with a dot if it is known whether they are there. */
export function Face(props: { name: string; group?: boolean; online?: boolean | undefined }): JSX.Element {
  const colour = () => [...props.name].reduce((sum, letter) => sum + (letter.codePointAt(0) ?? 0), 0) % FACES;
  return (
    <span class={`chat-face face-${colour()}`} classList={{ group: props.group ?? false }}>
      <span aria-hidden="true">{[...props.name][0]?.toUpperCase()}</span>
      <Show when={props.online !== undefined}>
        <span class="chat-here" classList={{ there: props.online ?? false }}>
          <span class="only-heard">{props.online ? "online" : "offline"}</span>
        </span>
      </Show>
    </span>
  );
}

/** Two buttons, and ann and bob have talked. */
function FirstSteps(props: { chat: Chat; onNew: () => void }): JSX.Element {
  const [error, setError] = createSignal<unknown>(null);
  const [busy, setBusy] = createSignal(false);
  const other = () => (props.chat.user === "bob" ? "ann" : "bob");
  const start = async () => {
    if (busy()) return;
    setBusy(true);
    setError(null);
    try {
      const { data, call } = await props.chat.api.create({ kind: "direct", members: [other()] });
      props.chat.setCall(call);
      const room = await props.chat.begun(data, other());
      room.say({ text: `Hello ${other()}!`, client_msg_id: crypto.randomUUID() });
      openConversation(data.id);
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
  };
  return (
    <div class="chat-nothing">
      <p class="state-title">No conversations yet</p>
      <p class="quiet">Say hello to {other()} here, open a window as {other()}, and answer from there. Cut the network in between if you like.</p>
      <div class="state-acts">
        <button type="button" class="button primary" disabled={busy()} onClick={() => void start()}>
          Say hello to {other()}
        </button>
        <a class="button" href={windowOf(other())} target="_blank" rel="noopener">
          Open a window as {other()}
        </a>
        <button type="button" class="button bare" onClick={props.onNew}>
          Begin a group
        </button>
      </div>
      <InlineError error={error()} />
    </div>
  );
}
