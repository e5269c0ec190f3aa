// Search: messages with these words, newest first, of what this user could see. A hit opens where it was said.
import { createEffect, createResource, createSignal, For, type JSX, Match, on, onCleanup, Show, Suspense, Switch } from "solid-js";
import { Moment, Skeleton } from "../../parts/basics";
import { ErrorState } from "../../parts/states";
import { titleOf } from "./api";
import type { Chat } from "./chat";
import { openConversation } from "./state";

const TYPING_PAUSE_MS = 250;

export function Found(props: { chat: Chat; words: string }): JSX.Element {
  const [asked, setAsked] = createSignal(props.words);
  createEffect(
    on(
      () => props.words,
      (words) => {
        const timer = setTimeout(() => setAsked(words), TYPING_PAUSE_MS);
        onCleanup(() => clearTimeout(timer));
      },
      { defer: true },
    ),
  );
  const [found, { refetch }] = createResource(asked, (words) => props.chat.api.search(words, null));
  const roomName = (id: string) => {
    const room = props.chat.room(id);
    return room ? titleOf(room.listed) : "another conversation";
  };
  return (
    <Suspense
      fallback={
        <div class="chat-list chat-list-bones">
          <Skeleton label="Searching" lines={4} />
        </div>
      }
    >
      <Switch>
        <Match when={found.error}>
          <div class="chat-list">
            <ErrorState title="The search failed" error={found.error} onRetry={() => void refetch()} />
          </div>
        </Match>
        <Match when={found.latest}>
          {(page) => (
            <ul class="chat-list" aria-label="Messages found">
              <For each={page().items} fallback={<li class="chat-none quiet">No message has these words.</li>}>
                {(event) => (
                  <li>
                    <button
                      type="button"
                      class="chat-row found"
                      onClick={() => {
                        openConversation(event.conversation);
                        props.chat.setTarget({ room: event.conversation, seq: event.seq });
                      }}
                    >
                      <span class="chat-row-text">
                        <span class="chat-row-head">
                          <span class="clip strong">{event.author}</span>
                          <span class="quiet small-text chat-row-when">
                            <Moment at={event.at} />
                          </span>
                        </span>
                        <span class="found-text">{event.text}</span>
                        <span class="quiet small-text clip">in {roomName(event.conversation)}</span>
                      </span>
                    </button>
                  </li>
                )}
              </For>
              <Show when={page().next_cursor}>
                <li class="chat-none quiet">These are the newest; more words find older ones.</li>
              </Show>
            </ul>
          )}
        </Match>
      </Switch>
    </Suspense>
  );
}
