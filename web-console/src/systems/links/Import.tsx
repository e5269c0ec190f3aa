// Import: a file of addresses becomes links, in batches, with what is left in lines and in seconds; what could not be
// made is a file to correct. A server that is busy is waited for; a lost connection pauses and can go on.
import { createSignal, type JSX, Match, onCleanup, Show, Switch } from "solid-js";
import { ApiError, OfflineError, send } from "../../api/http";
import { count, duration, plural } from "../../format";
import { Dialog } from "../../parts/dialog";
import { CheckField } from "../../parts/fields";
import { Icon } from "../../parts/icons";
import { InlineError } from "../../parts/states";
import { type BadLine, type BulkAnswer, FIRST_BATCH, type Item, nextSize, readItems, report } from "./importing";
import { announce } from "./state";

const LARGEST_FILE_BYTES = 64 * 1024 * 1024;
const BUSY_WAIT_SECONDS = 1;

type Step =
  | { kind: "choose"; error: unknown }
  | { kind: "ready" }
  | { kind: "running"; waiting: boolean }
  | { kind: "paused"; error: unknown }
  | { kind: "done" };

export function Import(props: { onClose: () => void }): JSX.Element {
  const [step, setStep] = createSignal<Step>({ kind: "choose", error: null });
  const [name, setName] = createSignal("");
  const [items, setItems] = createSignal<Item[]>([]);
  const [dedupe, setDedupe] = createSignal(false);
  const [done, setDone] = createSignal(0);
  const [made, setMade] = createSignal(0);
  const [bad, setBad] = createSignal<BadLine[]>([]);
  const [left, setLeft] = createSignal<number | null>(null);
  let stopped = false;
  let size = FIRST_BATCH;
  onCleanup(() => {
    stopped = true;
    if (made() > 0) announce({ kind: "imported" });
  });

  const refuse = (reason: string) => setStep({ kind: "choose", error: new Error(reason) });
  const choose = async (file: File | undefined) => {
    if (!file) return;
    const small = file.size <= LARGEST_FILE_BYTES;
    const found = small ? readItems(await file.text()) : [];
    setName(file.name);
    setItems(found);
    if (found.length) setStep({ kind: "ready" });
    else if (small) refuse("No addresses in this file. Put one on each line, or in a CSV column called “url”.");
    else refuse(`This file has more than 64 MB. On the command line: twelvefold links import ${file.name}`);
  };

  const run = async () => {
    stopped = false;
    const began = performance.now();
    const from = done();
    while (done() < items().length && !stopped) {
      setStep({ kind: "running", waiting: false });
      const batch = items().slice(done(), done() + size);
      const started = performance.now();
      try {
        // What brings its own alias is found by it, not by its address.
        const body = batch.map(({ input }) => (dedupe() && !input.alias ? { ...input, dedupe: true } : input));
        take(batch, (await send<BulkAnswer>("POST", "/v1/links/bulk", body)).data);
      } catch (error) {
        if (await waited(error)) continue;
        setStep({ kind: "paused", error });
        return;
      }
      size = nextSize(size, performance.now() - started);
      const perItem = (performance.now() - began) / (done() - from);
      setLeft((perItem * (items().length - done())) / 1000);
    }
    setStep(done() < items().length ? { kind: "paused", error: null } : { kind: "done" });
    announce({ kind: "imported" });
  };
  /** A busy server refused before doing anything: wait as it asks, then the same batch again. */
  const waited = async (error: unknown): Promise<boolean> => {
    if (!(error instanceof ApiError) || ![429, 503].includes(error.problem.status)) return false;
    setStep({ kind: "running", waiting: true });
    const seconds = error.retryAfterSeconds ?? BUSY_WAIT_SECONDS;
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    return true;
  };
  const take = (batch: readonly Item[], answer: BulkAnswer) => {
    const failed = answer.results.flatMap((result) => {
      const item = batch[result.index];
      if (!result.error || !item) return [];
      const { code, detail } = result.error;
      return [{ line: item.line, url: item.input.url ?? "", code, reason: detail }];
    });
    setBad((before) => [...before, ...failed]);
    setMade((before) => before + answer.created);
    setDone((before) => before + batch.length);
  };

  const kind = () => step().kind;
  const trouble = () => {
    const state = step();
    return "error" in state ? state.error : null;
  };
  return (
    <Dialog title="Import links" onClose={props.onClose}>
      <Switch>
        <Match when={kind() === "choose"}>
          <DropZone onFile={(file) => void choose(file)} />
          <InlineError error={trouble()} />
          <p class="field-note">
            One address a line, or CSV with a header (<code>url</code>, <code>alias</code>, <code>tags</code>,{" "}
            <code>note</code>, <code>expires_at</code>). Exports of YOURLS and Bitly are understood.
          </p>
        </Match>
        <Match when={kind() === "ready"}>
          <div class="stack">
            <p>
              <b>{name()}</b>: {plural(items().length, "address", "addresses")}.
            </p>
            <CheckField
              label="Reuse existing links"
              hint="An address that has a link keeps it, so a file can be brought in twice without doubles. Slower."
              checked={dedupe()}
              onCheck={setDedupe}
            />
            <div class="dialog-acts">
              <button type="button" class="button" onClick={() => setStep({ kind: "choose", error: null })}>
                Another file
              </button>
              <button type="button" class="button primary" onClick={() => void run()}>
                Import {count(items().length)}
              </button>
            </div>
          </div>
        </Match>
        <Match when={kind() === "running" || kind() === "paused" || kind() === "done"}>
          <div class="stack">
            <Progress done={done()} all={items().length} text={progressText(step(), done(), items().length, left())} />
            <Show when={kind() !== "running"}>
              <InlineError error={trouble()} />
              <Show when={trouble() instanceof OfflineError}>
                <p class="quiet">
                  The last batch, from line {count(items()[done()]?.line)} on, may have been saved before the connection broke.
                </p>
              </Show>
            </Show>
            <p class="import-outcome">
              {count(made())} made
              <Show when={bad().length}>
                , <span class="bad">{plural(bad().length, "line")} not</span>
              </Show>
            </p>
            <div class="dialog-acts">
              <Show when={bad().length}>
                <button type="button" class="button" onClick={() => save(report(bad()), `${name()}.bad.csv`)}>
                  Download the bad lines
                </button>
              </Show>
              <Switch>
                <Match when={kind() === "running"}>
                  <button type="button" class="button" onClick={() => (stopped = true)}>
                    Stop
                  </button>
                </Match>
                <Match when={kind() === "paused"}>
                  <button type="button" class="button primary" onClick={() => void run()}>
                    Go on
                  </button>
                </Match>
                <Match when={kind() === "done"}>
                  <button type="button" class="button primary" onClick={() => props.onClose()}>
                    Done
                  </button>
                </Match>
              </Switch>
            </div>
          </div>
        </Match>
      </Switch>
    </Dialog>
  );
}

function progressText(step: Step, done: number, all: number, left: number | null): string {
  if (step.kind === "done") return `All ${count(all)} lines read`;
  const sofar = `${count(done)} of ${count(all)}`;
  if (step.kind === "paused") return `Paused at ${sofar}`;
  if (step.kind === "running" && step.waiting) return `${sofar}, the server is busy; going on in a moment`;
  return left === null ? sofar : `${sofar}, ${duration(left)} left`;
}

function Progress(props: { done: number; all: number; text: string }): JSX.Element {
  return (
    <div class="progress">
      <progress value={props.done} max={props.all} aria-label="Import" />
      <p role="status">{props.text}</p>
    </div>
  );
}

function DropZone(props: { onFile: (file: File | undefined) => void }): JSX.Element {
  const [over, setOver] = createSignal(false);
  return (
    <label
      class="drop-zone"
      classList={{ over: over() }}
      onDragOver={(event) => (event.preventDefault(), setOver(true))}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        props.onFile(event.dataTransfer?.files[0]);
      }}
    >
      <Icon name="file" />
      <span>
        <b>Choose a file</b> or drop it here
      </span>
      <input
        type="file"
        autofocus
        accept=".csv,.txt,text/csv,text/plain"
        onChange={(event) => props.onFile(event.currentTarget.files?.[0])}
      />
    </label>
  );
}

function save(text: string, name: string): void {
  const address = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  const anchor = document.createElement("a");
  anchor.href = address;
  anchor.download = name;
  anchor.click();
  URL.revokeObjectURL(address);
}
