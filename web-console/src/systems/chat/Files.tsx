// What is attached to a message: pictures as they are, other files by their names. Addresses of files last an hour
// and are asked for when a message comes into view; only the file itself waits for its address.
import { createResource, createSignal, For, type JSX, Match, Show, Suspense, Switch } from "solid-js";
import { bytes } from "../../format";
import { Dialog } from "../../parts/dialog";
import { Icon } from "../../parts/icons";
import type { Api, Attachment } from "./api";

const WIDEST_PX = 320;
const SPARE_MS = 10_000;
const HIGHEST_PX = 240;
const PICTURES = new Set(["image/jpeg", "image/png", "image/webp"]);

export function Files(props: { api: Api; room: string; files: readonly Attachment[] }): JSX.Element {
  return (
    <div class="files">
      <For each={props.files}>
        {(file) => (
          <Show when={PICTURES.has(file.content_type ?? "") && file.width && file.height} fallback={<Other api={props.api} room={props.room} file={file} />}>
            <Picture api={props.api} room={props.room} file={file} />
          </Show>
        )}
      </For>
    </div>
  );
}

function Picture(props: { api: Api; room: string; file: Attachment }): JSX.Element {
  const [small] = createResource(() => props.api.link(props.room, props.file.media_id, true));
  const [open, setOpen] = createSignal(false);
  const scale = Math.min(1, WIDEST_PX / (props.file.width ?? 1), HIGHEST_PX / (props.file.height ?? 1));
  const width = Math.max(16, Math.round((props.file.width ?? 1) * scale));
  const height = Math.max(16, Math.round((props.file.height ?? 1) * scale));
  return (
    <>
      <button type="button" class="picture" onClick={() => setOpen(true)} aria-label={`Open the picture ${props.file.name ?? ""}`}>
        <Suspense fallback={<svg width={width} height={height} aria-hidden="true" />}>
          <Switch>
            <Match when={small.error}>
              <span class="quiet small-text">The picture could not be read.</span>
            </Match>
            <Match when={small()}>{(url) => <img src={url()} width={width} height={height} alt={props.file.name ?? "picture"} />}</Match>
          </Switch>
        </Suspense>
      </button>
      <Show when={open()}>
        <Whole api={props.api} room={props.room} file={props.file} onClose={() => setOpen(false)} />
      </Show>
    </>
  );
}

function Whole(props: { api: Api; room: string; file: Attachment; onClose: () => void }): JSX.Element {
  const [url] = createResource(() => props.api.link(props.room, props.file.media_id, false));
  return (
    <Dialog title={props.file.name ?? "Picture"} onClose={props.onClose}>
      <Suspense fallback={<p class="quiet">Reading the picture…</p>}>
        <Show when={!url.error && url()} fallback={<p class="bad">{(url.error as Error | undefined)?.message}</p>}>
          {(found) => (
            <>
              <img class="picture-whole" src={found()} width={props.file.width} height={props.file.height} alt={props.file.name ?? "picture"} />
              <div class="dialog-acts">
                <a class="button" href={found()} download={props.file.name ?? "picture"}>
                  Download ({bytes(props.file.size_bytes ?? 0)})
                </a>
              </div>
            </>
          )}
        </Show>
      </Suspense>
    </Dialog>
  );
}

function Other(props: { api: Api; room: string; file: Attachment }): JSX.Element {
  const [url, { refetch }] = createResource(() => props.api.link(props.room, props.file.media_id, false));
  /** Links end; a page may be open for longer. */
  const renew = async (event: MouseEvent & { currentTarget: HTMLAnchorElement }) => {
    const link = event.currentTarget;
    const expires = Number(new URL(link.href).searchParams.get("expires"));
    if (!event.isTrusted || expires * 1000 > Date.now() + SPARE_MS) return;
    event.preventDefault();
    await refetch();
    link.click();
  };
  return (
    <Suspense fallback={<span class="file clip">{props.file.name}</span>}>
      <a class="file" href={url.error ? undefined : url.latest} download={props.file.name ?? "file"} onClick={(event) => void renew(event)}>
        <Icon name="file" />
        <span class="clip">{props.file.name}</span>
        <span class="quiet small-text">{bytes(props.file.size_bytes ?? 0)}</span>
      </a>
    </Suspense>
  );
}
