// A native modal dialog: the browser keeps the focus inside, Esc closes it, and what is behind is inert. As a
// `sheet` it stands at the right edge; on a phone it is the whole screen.
import { type JSX, onCleanup, onMount, Show } from "solid-js";
import { Icon } from "./icons";

interface DialogProps {
  title: string;
  onClose: () => void;
  children: JSX.Element;
  kind?: "box" | "sheet" | "palette";
  head?: JSX.Element;
}

export function Dialog(props: DialogProps): JSX.Element {
  let element: HTMLDialogElement | undefined;
  const before = document.activeElement;
  onMount(() => element?.showModal());
  onCleanup(() => {
    if (before instanceof HTMLElement && before.isConnected) before.focus({ preventScroll: true });
  });
  return (
    <dialog
      ref={element}
      class={props.kind ?? "box"}
      aria-label={props.title}
      onClose={() => props.onClose()}
      onMouseDown={(event) => event.target === element && props.onClose()}
    >
      {/* A sheet is read before it is used: its focus begins at the top, not on a button. */}
      <div class="dialog-body" tabIndex={props.kind === "sheet" ? -1 : undefined} autofocus={props.kind === "sheet"}>
        <header class="dialog-head">
          <Show when={props.head} fallback={<h2>{props.title}</h2>}>
            {props.head}
          </Show>
          <button type="button" class="icon-button" aria-label="Close" onClick={() => props.onClose()}>
            <Icon name="close" />
          </button>
        </header>
        {props.children}
      </div>
    </dialog>
  );
}

interface ConfirmProps {
  /** A question that names the thing: "Revoke the key ‘ci’?" */
  question: string;
  act: string;
  children: JSX.Element;
  onConfirm: () => void;
  onClose: () => void;
}

export function Confirm(props: ConfirmProps): JSX.Element {
  return (
    <Dialog title={props.question} onClose={props.onClose}>
      <p class="quiet">{props.children}</p>
      <div class="dialog-acts">
        <button type="button" class="button" autofocus onClick={() => props.onClose()}>
          Cancel
        </button>
        <button
          type="button"
          class="button danger"
          onClick={() => {
            // The question may be about something that closing forgets.
            props.onConfirm();
            props.onClose();
          }}
        >
          {props.act}
        </button>
      </div>
    </Dialog>
  );
}
