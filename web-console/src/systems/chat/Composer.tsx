// The line to write on. Files are uploaded as soon as they are chosen, dropped or pasted, with their progress; a
// message waits for its files, and what was typed waits for whoever looks at another conversation in between.
import { createSignal, createUniqueId, For, type JSX, onCleanup, onMount, Show } from "solid-js";
import { createStore } from "solid-js/store";
import { bytes, duration } from "../../format";
import { Icon } from "../../parts/icons";
import { InlineError } from "../../parts/states";
import type { Medium } from "./api";
import type { Chat } from "./chat";
import type { Room } from "./room";

interface Upload {
  id: string;
  file: File;
  preview: string | null;
  share: number;
  medium: Medium | null;
  error: unknown;
  control: AbortController;
}

const MOST_FILES = 20;
const MENTION = /@([^\s@,.:;!?]+)/g;
const drafts = new Map<string, string>();

export function Composer(props: { chat: Chat; room: Room; thread?: number }): JSX.Element {
  const key = `${props.chat.user}/${props.room.id}/${props.thread ?? ""}`;
  const [text, setText] = createSignal(drafts.get(key) ?? "");
  const [uploads, setUploads] = createStore<Upload[]>([]);
  const [over, setOver] = createSignal(false);
  const pick = createUniqueId();
  let field: HTMLTextAreaElement | undefined;
  let files: HTMLInputElement | undefined;

  onMount(() => {
    // On a phone the keyboard would cover what one came to read.
    if (matchMedia("(min-width: 821px)").matches) field?.focus({ preventScroll: true });
  });
  onCleanup(() => {
    drafts.set(key, text());
    for (const upload of uploads) drop(upload);
  });

  const drop = (upload: Upload) => {
    upload.control.abort();
    if (upload.preview) URL.revokeObjectURL(upload.preview);
  };
  const start = (upload: Upload) => {
    const change = (to: Partial<Upload>) => setUploads((one) => one.id === upload.id, to);
    change({ error: null, share: 0 });
    props.chat.api.upload(props.room.id, upload.file, (share) => change({ share }), upload.control.signal).then(
      (medium) => change({ medium, share: 1 }),
      (error: unknown) => !upload.control.signal.aborted && change({ error }),
    );
  };
  const take = (chosen: Iterable<File>) => {
    for (const file of [...chosen].slice(0, MOST_FILES - uploads.length)) {
      const preview = file.type.startsWith("image/") ? URL.createObjectURL(file) : null;
      const upload: Upload = { id: crypto.randomUUID(), file, preview, share: 0, medium: null, error: null, control: new AbortController() };
      setUploads(uploads.length, upload);
      start(upload);
    }
  };
  const remove = (id: string) => {
    const upload = uploads.find((one) => one.id === id);
    if (upload) drop(upload);
    setUploads((known) => known.filter((one) => one.id !== id));
  };

  const ready = () => uploads.every((one) => one.medium) && (text().trim() !== "" || uploads.length > 0);
  const send = () => {
    if (!ready() || props.room.gone()) return;
    const said = text().trim();
    const media = uploads.flatMap((one) => (one.medium ? [one.medium] : []));
    const known = new Set(props.room.marks.members());
    const mentions = [...new Set([...said.matchAll(MENTION)].map((match) => match[1] ?? ""))].filter((name) => known.has(name)).slice(0, 100);
    props.room.say(
      {
        text: said,
        client_msg_id: crypto.randomUUID(),
        ...(props.thread ? { thread: props.thread } : {}),
        ...(mentions.length ? { mentions } : {}),
        ...(media.length ? { attachments: media.map((one) => one.id) } : {}),
      },
      media.map(({ id, ...rest }) => ({ ...rest, media_id: id })),
    );
    setText("");
    for (const upload of uploads) drop(upload);
    setUploads([]);
    field?.focus();
  };
  const slow = () => props.room.listed.role === "member" && props.room.listed.conversation.slow_mode_seconds;
  const label = () => (props.thread ? "Answer in this thread" : "Message");

  return (
    <Show when={!props.room.gone()} fallback={<p class="composer-gone quiet">{props.room.gone()}</p>}>
      <form
        class="composer"
        classList={{ over: over() }}
        onSubmit={(event) => {
          event.preventDefault();
          send();
        }}
        onDragOver={(event) => {
          event.preventDefault();
          setOver(true);
        }}
        onDragLeave={() => setOver(false)}
        onDrop={(event) => {
          event.preventDefault();
          setOver(false);
          take(event.dataTransfer?.files ?? []);
        }}
      >
        <Show when={uploads.length}>
          <ul class="uploads" aria-label="Files to send">
            <For each={uploads}>
              {(upload) => (
                <li class="upload">
                  <Show when={upload.preview} fallback={<Icon name="file" />}>
                    {(preview) => <img src={preview()} width="40" height="40" alt="" />}
                  </Show>
                  <span class="upload-text">
                    <span class="clip">{upload.file.name || "picture"}</span>
                    <Show when={!upload.error} fallback={<InlineError error={upload.error} />}>
                      <Show when={!upload.medium} fallback={<span class="quiet small-text">{bytes(upload.file.size)}, uploaded</span>}>
                        <progress max={1} value={upload.share} aria-label={`Uploading ${upload.file.name}`} />
                      </Show>
                    </Show>
                  </span>
                  <Show when={upload.error}>
                    <button type="button" class="button small" onClick={() => start(upload)}>
                      Try again
                    </button>
                  </Show>
                  <button type="button" class="icon-button" aria-label={`Remove ${upload.file.name}`} onClick={() => remove(upload.id)}>
                    <Icon name="close" />
                  </button>
                </li>
              )}
            </For>
          </ul>
        </Show>
        <Show when={slow()}>
          {(seconds) => <p class="quiet small-text composer-slow">Slow mode: one message every {duration(seconds())}.</p>}
        </Show>
        <div class="composer-row">
          <button type="button" class="icon-button" aria-label="Attach files" title="Attach files" onClick={() => files?.click()}>
            <Icon name="plus" />
          </button>
          <input
            ref={files}
            id={pick}
            type="file"
            class="composer-files"
            aria-label="Files to attach"
            tabIndex={-1}
            multiple
            onChange={(event) => {
              take(event.currentTarget.files ?? []);
              event.currentTarget.value = "";
            }}
          />
          <textarea
            ref={field}
            rows={1}
            dir="auto"
            aria-label={label()}
            placeholder={over() ? "Drop the files here" : label()}
            value={text()}
            onInput={(event) => {
              setText(event.currentTarget.value);
              if (event.currentTarget.value.trim()) props.chat.typing(props.room);
            }}
            onPaste={(event) => {
              const pasted = event.clipboardData?.files;
              if (!pasted?.length) return;
              event.preventDefault();
              take(pasted);
            }}
            onKeyDown={(event) => {
              if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
              event.preventDefault();
              send();
            }}
          />
          <button type="submit" class="button primary composer-send" disabled={!ready()}>
            Send
          </button>
        </div>
      </form>
    </Show>
  );
}
