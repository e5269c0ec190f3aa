// One message: who, when, what; whether it was changed or taken back; who reacted, who has read it; what can be done.
import { createMemo, createSignal, For, type JSX, Match, Show, Switch } from "solid-js";
import { ApiError } from "../../api/http";
import { count, duration, exact, plural } from "../../format";
import { Confirm } from "../../parts/dialog";
import { Icon } from "../../parts/icons";
import { InlineError } from "../../parts/states";
import { toast } from "../../parts/toasts";
import { Face } from "./ChatWindow";
import type { Chat } from "./chat";
import { Files } from "./Files";
import type { Entry, Shown } from "./entry";
import type { Room } from "./room";

const QUICK = [
  { emoji: "👍", name: "thumbs up" },
  { emoji: "❤️", name: "heart" },
  { emoji: "😄", name: "laughing" },
];
const TOGETHER_MS = 5 * 60_000;
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat("en", { weekday: "long", day: "numeric", month: "long", year: "numeric" });

interface RowProps {
  chat: Chat;
  room: Room;
  entry: Entry;
  previous?: Entry | undefined;
  next?: Entry | undefined;
  /** What is new begins here. */
  unread?: boolean;
  flashed?: boolean;
  /** Left out in a thread: threads have no threads. */
  onThread?: (seq: number) => void;
}

export function MessageRow(props: RowProps): JSX.Element {
  const is = () => props.entry.is;
  const day = createMemo(() => new Date(is().at).toDateString());
  const newDay = () => !props.previous || new Date(props.previous.is.at).toDateString() !== day();
  const together = () => {
    const before = props.previous?.is;
    if (!before || before.kind === "note" || before.author !== is().author || newDay() || props.unread) return false;
    return Date.parse(is().at) - Date.parse(before.at) < TOGETHER_MS;
  };
  return (
    <>
      <Show when={newDay()}>
        <p class="day-line">
          <span>{dayName(is().at)}</span>
        </p>
      </Show>
      <Show when={props.unread}>
        <p class="day-line unread-line">
          <span>New</span>
        </p>
      </Show>
      <Show
        when={is().kind === "message"}
        fallback={
          <p class="note-row quiet small-text" title={exact(is().at)}>
            {is().text}
          </p>
        }
      >
        <Message {...props} together={together()} />
      </Show>
    </>
  );
}

function Message(props: RowProps & { together: boolean }): JSX.Element {
  const is = () => props.entry.is;
  const mine = () => is().author === props.room.user;
  const [editing, setEditing] = createSignal(false);
  const [doomed, setDoomed] = createSignal(false);
  const receipt = createMemo(() => receiptWords(props.room, is()));
  const shownReceipt = () => {
    const after = props.next?.is;
    return after && after.kind === "message" && after.author === is().author && receiptWords(props.room, after) === receipt() ? "" : receipt();
  };
  const attempt = async (work: Promise<{ call: Parameters<Chat["setCall"]>[0] }>, failed: string) => {
    try {
      props.chat.setCall((await work).call);
      return true;
    } catch (error) {
      toast(`${failed}: ${(error as Error).message}`, { tone: "bad" });
      return false;
    }
  };
  const react = (emoji: string) => {
    const seq = is().seq;
    if (seq === null) return;
    const added = !is().reactions.some((one) => one.emoji === emoji && one.users.includes(props.room.user));
    void attempt(props.chat.api.react(props.room.id, seq, emoji, added), "Your reaction was not kept");
  };

  return (
    <article
      class="message"
      classList={{ together: props.together, waiting: is().sending !== "no", flashed: props.flashed ?? false }}
      aria-label={`${is().author}, ${CLOCK.format(new Date(is().at))}`}
      data-seq={is().seq}
    >
      <div class="message-side">
        <Show when={!props.together} fallback={<time class="message-time" dateTime={is().at} title={exact(is().at)}>{CLOCK.format(new Date(is().at))}</time>}>
          <Face name={is().author} />
        </Show>
      </div>
      <div class="message-main">
        <Show when={!props.together}>
          <p class="message-head">
            <span class="strong">{is().author}</span>{" "}
            <time class="quiet small-text" dateTime={is().at} title={exact(is().at)}>
              {CLOCK.format(new Date(is().at))}
            </time>
          </p>
        </Show>
        <Switch>
          <Match when={is().deleted}>
            <p class="quiet message-gone">This message was taken back.</p>
          </Match>
          <Match when={editing()}>
            <Edit
              text={is().text}
              onClose={() => setEditing(false)}
              onSave={async (text) => {
                const seq = is().seq;
                if (seq !== null && (await attempt(props.chat.api.edit(props.room.id, seq, text), "It was not changed"))) setEditing(false);
              }}
            />
          </Match>
          <Match when={true}>
            <Show when={is().text}>
              <p class="message-text" dir="auto">
                <Text text={is().text} />
                <Show when={is().edited}>
                  <span class="quiet small-text"> (edited)</span>
                </Show>
              </p>
            </Show>
            <Show when={is().attachments.length}>
              <Files api={props.chat.api} room={props.room.id} files={is().attachments} />
            </Show>
          </Match>
        </Switch>
        <Show when={is().reactions.length}>
          <div class="reactions">
            <For each={is().reactions}>
              {(one) => (
                <button
                  type="button"
                  class="reaction"
                  aria-pressed={one.users.includes(props.room.user)}
                  aria-label={`${one.emoji} by ${one.users.join(", ")}`}
                  title={one.users.join(", ")}
                  onClick={() => react(one.emoji)}
                >
                  <span aria-hidden="true">{one.emoji}</span> {one.count}
                </button>
              )}
            </For>
          </div>
        </Show>
        <Show when={props.onThread && is().replies > 0}>
          <button type="button" class="message-replies" onClick={() => props.onThread?.(is().seq ?? 0)}>
            {plural(is().replies, "answer")}
          </button>
        </Show>
        <Show when={is().sending === "waiting" && is().problem}>
          {(problem) => (
            <div class="message-failed-acts">
              <p class="warn small-text">
                Not sent yet: {(problem() as Error).message} {againWords(problem())}
              </p>
              {/* What was refused is not there; what got no answer may be. */}
              <Show when={(problem() as Partial<ApiError>).problem?.status === 429}>
                <button type="button" class="button small" onClick={() => props.room.outbox.take(props.entry)}>
                  Discard
                </button>
              </Show>
            </div>
          )}
        </Show>
        <Show when={is().sending === "failed"}>
          <div class="message-failed">
            <InlineError error={is().problem} />
            <span class="message-failed-acts">
              <button type="button" class="button small" onClick={() => props.room.outbox.retry(props.entry)}>
                Try again
              </button>
              <button type="button" class="button small" onClick={() => props.room.outbox.take(props.entry)}>
                Discard
              </button>
            </span>
          </div>
        </Show>
      </div>
      <Show when={shownReceipt() && mine()}>
        <span class="message-receipt quiet small-text">{shownReceipt()}</span>
      </Show>
      <Show when={is().sending === "no" && !is().deleted && !props.room.gone()}>
        <Acts
          author={is().author}
          onReact={react}
          onThread={props.onThread ? () => props.onThread?.(is().seq ?? 0) : null}
          onEdit={mine() ? () => setEditing(true) : null}
          onDelete={mine() || props.room.listed.role !== "member" ? () => setDoomed(true) : null}
        />
      </Show>
      <Show when={doomed()}>
        <Confirm
          question={mine() ? "Take this message back?" : `Delete ${is().author}'s message?`}
          act={mine() ? "Take back" : "Delete"}
          onClose={() => setDoomed(false)}
          onConfirm={() => void attempt(props.chat.api.remove(props.room.id, is().seq ?? 0), "It was not taken back")}
        >
          {is().text ? `“${is().text.slice(0, 120)}” ` : "It "}will be gone from history and search, for everybody.
        </Confirm>
      </Show>
    </article>
  );
}

interface ActsProps {
  author: string;
  onReact: (emoji: string) => void;
  onThread: (() => void) | null;
  onEdit: (() => void) | null;
  onDelete: (() => void) | null;
}

/** A toolbar: one tab stop, arrows move. */
function Acts(props: ActsProps): JSX.Element {
  const move = (event: KeyboardEvent & { currentTarget: HTMLElement }) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const buttons = [...event.currentTarget.querySelectorAll("button")];
    const here = buttons.indexOf(document.activeElement as HTMLButtonElement);
    buttons[(here + step + buttons.length) % buttons.length]?.focus();
  };
  return (
    <div class="message-acts" role="toolbar" aria-label={`What to do with ${props.author}'s message`} onKeyDown={move}>
      <For each={QUICK}>
        {({ emoji, name }, index) => (
          <button type="button" tabIndex={index() === 0 ? 0 : -1} aria-label={`React with ${name}`} title={`React with ${name}`} onClick={() => props.onReact(emoji)}>
            <span aria-hidden="true">{emoji}</span>
          </button>
        )}
      </For>
      <Show when={props.onThread}>
        {(act) => (
          <button type="button" tabIndex={-1} onClick={() => act()()}>
            Answer
          </button>
        )}
      </Show>
      <Show when={props.onEdit}>
        {(act) => (
          <button type="button" tabIndex={-1} onClick={() => act()()}>
            Edit
          </button>
        )}
      </Show>
      <Show when={props.onDelete}>
        {(act) => (
          <button type="button" tabIndex={-1} aria-label="Delete" title="Delete" onClick={() => act()()}>
            <Icon name="trash" />
          </button>
        )}
      </Show>
    </div>
  );
}

function Edit(props: { text: string; onSave: (text: string) => Promise<void>; onClose: () => void }): JSX.Element {
  const [text, setText] = createSignal(props.text);
  const save = () => text().trim() && void props.onSave(text().trim());
  return (
    <form
      class="message-edit"
      onSubmit={(event) => {
        event.preventDefault();
        save();
      }}
    >
      <textarea
        aria-label="The new text"
        rows={2}
        value={text()}
        ref={(field) => queueMicrotask(() => field.focus())}
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "Escape") props.onClose();
          else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
            event.preventDefault();
            save();
          }
        }}
      />
      <span class="message-failed-acts">
        <button type="submit" class="button small primary" disabled={!text().trim()}>
          Save
        </button>
        <button type="button" class="button small" onClick={() => props.onClose()}>
          Cancel
        </button>
      </span>
    </form>
  );
}

const LONGEST_SHOWN = 3000;
const ADDRESS = /(https?:\/\/[^\s<>"]+[^\s<>".,;:!?)\]])/g;

/** The text, its addresses as links; of a very long one, its beginning. */
function Text(props: { text: string }): JSX.Element {
  const [whole, setWhole] = createSignal(false);
  const long = () => props.text.length > LONGEST_SHOWN && !whole();
  const shown = () => (long() ? `${props.text.slice(0, LONGEST_SHOWN)}…` : props.text);
  return (
    <>
      <For each={shown().split(ADDRESS)}>
        {(part, index) => (
          <Show when={index() % 2} fallback={part}>
            <a href={part} target="_blank" rel="noreferrer noopener">
              {part}
            </a>
          </Show>
        )}
      </For>
      <Show when={long()}>
        {" "}
        <button type="button" class="message-more" onClick={() => setWhole(true)}>
          Show all {count(props.text.length)} characters
        </button>
      </Show>
    </>
  );
}

function againWords(problem: unknown): string {
  const seconds = problem instanceof ApiError ? problem.retryAfterSeconds : null;
  return seconds && seconds > 5 ? `It is tried again within ${duration(Math.ceil(seconds))}.` : "It is tried again by itself.";
}

function receiptWords(room: Room, is: Shown): string {
  if (is.author !== room.user || is.deleted || is.sending === "failed") return "";
  if (is.sending === "waiting") return is.problem ? "Waiting" : "Sending…";
  const { others, delivered, read } = room.marks.seenBy(is.seq ?? 0);
  if (others <= 1) return read ? "Read" : delivered ? "Delivered" : "Sent";
  if (read === others) return "Read by all";
  if (read) return `Read by ${read} of ${others}`;
  if (delivered) return delivered === others ? "Delivered to all" : `Delivered to ${delivered} of ${others}`;
  return "Sent";
}

function dayName(at: string): string {
  const day = new Date(at);
  const midnight = new Date();
  midnight.setHours(0, 0, 0, 0);
  if (day >= midnight) return "Today";
  midnight.setDate(midnight.getDate() - 1);
  return day >= midnight ? "Yesterday" : DAY.format(day);
}
