// A thread: the message it began with, its answers, and a line to answer on.
import { createEffect, createResource, type JSX, on, Show, Suspense } from "solid-js";
import { Skeleton } from "../../parts/basics";
import { Icon } from "../../parts/icons";
import { ErrorState } from "../../parts/states";
import type { Chat } from "./chat";
import { Composer } from "./Composer";
import { MessageRow } from "./MessageRow";
import type { Entry } from "./entry";
import type { Room } from "./room";
import { type Scroller, Scrollback } from "./Scrollback";

export function Thread(props: { chat: Chat; room: Room; seq: number; onClose: () => void }): JSX.Element {
  const [read, { refetch }] = createResource(async () => {
    await props.room.openThread(props.seq);
    return true;
  });
  let scroller: Scroller<Entry> | undefined;
  const entries = (): Entry[] => {
    const root = read.error ? undefined : read() && props.room.find(props.seq);
    return root ? [root, ...props.room.answers(props.seq)] : [];
  };
  createEffect(on(() => entries().length, () => scroller?.toEnd()));
  return (
    <aside
      class="thread"
      aria-label="Thread"
      onKeyDown={(event) => event.key === "Escape" && !event.defaultPrevented && !(event.target instanceof HTMLTextAreaElement && event.target.value) && props.onClose()}
    >
      <header class="room-head">
        <div class="room-title">
          <h3>Thread</h3>
        </div>
        <button type="button" class="icon-button" aria-label="Close the thread" onClick={() => props.onClose()}>
          <Icon name="close" />
        </button>
      </header>
      <Suspense
        fallback={
          <div class="room-body">
            <Skeleton label="Reading the thread" lines={4} />
          </div>
        }
      >
        <div class="room-body">
          <Show
            when={!read.error}
            fallback={<ErrorState title="This thread could not be read" error={read.error} onRetry={() => void refetch()} />}
          >
            <Show when={entries().length} fallback={<Skeleton label="Reading the thread" lines={4} />}>
              <Scrollback
                label="Thread"
                items={entries()}
                guess={44}
                ref={(made) => (scroller = made)}
                onNearTop={() => undefined}
                onEnd={() => undefined}
                row={(entry, index) => (
                  <MessageRow chat={props.chat} room={props.room} entry={entry} previous={entries()[index() - 1]} next={entries()[index() + 1]} />
                )}
              />
            </Show>
          </Show>
        </div>
        <Show when={entries().length}>
          <Composer chat={props.chat} room={props.room} thread={props.seq} />
        </Show>
      </Suspense>
    </aside>
  );
}
