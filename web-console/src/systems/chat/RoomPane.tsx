// The open conversation: who is in it, what was said, who is writing, and the line to write on; beside it a thread.
import { createEffect, createMemo, createSignal, type JSX, on, onCleanup, onMount, Show } from "solid-js";
import { count, plural } from "../../format";
import { Icon } from "../../parts/icons";
import { InlineError } from "../../parts/states";
import { parameter, setQuery } from "../../router";
import { titleOf } from "./api";
import { Face } from "./ChatWindow";
import type { Chat } from "./chat";
import { Composer } from "./Composer";
import { Members } from "./Members";
import { MessageRow } from "./MessageRow";
import type { Entry } from "./entry";
import type { Room } from "./room";
import { type Scroller, Scrollback } from "./Scrollback";
import { openConversation } from "./state";
import { Thread } from "./Thread";

const ROW_PX = 44;
const FLASH_MS = 2000;

export function RoomPane(props: { chat: Chat; room: Room }): JSX.Element {
  const { chat, room } = props; // for the life of this view: another conversation is another view
  const thread = parameter("thread");
  const listed = () => room.listed;
  const [atEnd, setAtEnd] = createSignal(true);
  const [behind, setBehind] = createSignal(0);
  const [members, setMembers] = createSignal(false);
  const [flashed, setFlashed] = createSignal<Entry | null>(null);
  const [visible, setVisible] = createSignal(!document.hidden);
  const readBefore = listed().unread > 0 ? listed().read_seq : null;
  /** Where what is new began when this was opened; found once, it stays. */
  const firstUnread = createMemo((found: Entry | null) => {
    // Only once what was read before is here, too: the first one read so far need not be the first unread.
    const reached = room.begun() || (room.entries()[0]?.is.seq ?? Infinity) <= (readBefore ?? 0) + 1;
    if (found || readBefore === null || !reached) return found;
    const unread = ({ is }: Entry) => is.kind === "message" && is.author !== room.user && (is.seq ?? 0) > readBefore;
    return room.entries().find(unread) ?? null;
  }, null);
  const openedAt = room.position ?? 0;
  let scroller: Scroller<Entry> | undefined;
  let view: HTMLDivElement | undefined;

  onMount(() => {
    view?.closest(".chat")?.scrollIntoView({ block: "nearest" });
    const look = () => setVisible(!document.hidden);
    document.addEventListener("visibilitychange", look);
    onCleanup(() => document.removeEventListener("visibilitychange", look));
  });
  createEffect(() => {
    room.listed.last_seq;
    if (visible() && atEnd() && chat.line.there()) chat.read(room);
  });
  createEffect(
    on(
      () => room.entries().length,
      (now, before = now) => {
        const mine = room.entries().at(-1)?.is;
        if (mine?.sending === "waiting" && now > before) scroller?.toEnd();
        else if (!atEnd() && !room.loading()) setBehind((known) => known + Math.max(0, now - before));
      },
    ),
  );
  createEffect(() => atEnd() && setBehind(0));
  createEffect(
    on(chat.target, (target) => {
      if (target?.room !== room.id) return;
      chat.setTarget(null);
      void find(target.seq);
    }),
  );
  const find = async (seq: number) => {
    await room.older(seq);
    const entry = room.find(seq);
    if (!entry) return;
    const root = entry.is.thread === null ? entry : room.find(entry.is.thread);
    if (entry.is.thread !== null) setQuery({ thread: String(entry.is.thread) });
    if (!root) return;
    scroller?.show(root);
    setFlashed(root);
    setTimeout(() => setFlashed(null), FLASH_MS);
  };
  /** The newest thing that somebody else said while this was open; heard, not seen. */
  const spoken = createMemo((known: string) => {
    const is = room.last()?.is;
    if (!is || is.author === room.user || (is.seq ?? 0) <= openedAt) return known;
    return `${is.author}: ${is.text.slice(0, 200) || "a file"}`;
  }, "");
  const subtitle = createMemo(() => {
    const { conversation, peer } = listed();
    if (conversation.kind !== "direct") return plural(conversation.members, "member");
    const there = peer === null ? undefined : chat.online[peer];
    return there === undefined ? "Direct" : there ? "Online" : "Offline";
  });

  return (
    <div class="room" ref={view} classList={{ "with-thread": Boolean(thread()) }}>
      <div class="room-talk">
        <header class="room-head">
          <button type="button" class="icon-button room-back" aria-label="Back to your conversations" onClick={() => openConversation(null)}>
            <Icon name="arrow" />
          </button>
          <Face name={titleOf(listed())} group={listed().conversation.kind !== "direct"} online={listed().peer ? chat.online[listed().peer ?? ""] : undefined} />
          <div class="room-title">
            <h3 class="clip">{titleOf(listed())}</h3>
            <span class="quiet small-text">{subtitle()}</span>
          </div>
          <button type="button" class="button small" onClick={() => setMembers(true)}>
            Members
          </button>
        </header>
        <div class="room-body">
          <Scrollback
            label={`Messages with ${titleOf(listed())}`}
            items={room.entries()}
            guess={ROW_PX}
            ref={(made) => (scroller = made)}
            onNearTop={() => !room.error() && room.position !== null && void room.older()}
            onEnd={setAtEnd}
            head={
              <div class="room-begin quiet small-text" role="status">
                <Show when={!room.error()} fallback={<OlderFailed room={room} />}>
                  {room.begun() ? "" : room.loading() ? "Reading what was before…" : ""}
                </Show>
              </div>
            }
            row={(entry, index) => (
              <MessageRow
                chat={chat}
                room={room}
                entry={entry}
                previous={room.entries()[index() - 1]}
                next={room.entries()[index() + 1]}
                unread={firstUnread() === entry}
                flashed={flashed() === entry}
                onThread={(seq) => setQuery({ thread: String(seq) })}
              />
            )}
          />
          <Show when={!atEnd()}>
            <button type="button" class="button small room-newest" onClick={() => scroller?.toEnd()}>
              <Icon name="down" />
              {behind() ? `${count(behind())} new` : "Newest"}
            </button>
          </Show>
        </div>
        <p class="only-heard" role="status">
          {spoken()}
        </p>
        <Typists names={room.typing()} />
        <Composer chat={chat} room={room} />
      </div>
      <Show when={thread()} keyed>
        {(seq) => <Thread chat={chat} room={room} seq={Number(seq)} onClose={() => setQuery({ thread: null })} />}
      </Show>
      <Show when={members()}>
        <Members chat={chat} room={room} onClose={() => setMembers(false)} />
      </Show>
    </div>
  );
}

function OlderFailed(props: { room: Room }): JSX.Element {
  return (
    <div class="stack">
      <InlineError error={props.room.error()} />
      <button type="button" class="button small" onClick={() => void props.room.older()}>
        Try again
      </button>
    </div>
  );
}

export function Typists(props: { names: string[] }): JSX.Element {
  const words = () => {
    const [first, second, ...rest] = props.names;
    if (!first) return "";
    if (!second) return `${first} is writing…`;
    return rest.length ? `${first}, ${second} and ${count(rest.length)} more are writing…` : `${first} and ${second} are writing…`;
  };
  return (
    <p class="room-typing small-text" role="status">
      {words()}
    </p>
  );
}
