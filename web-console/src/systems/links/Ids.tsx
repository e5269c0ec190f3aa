// Unique ids: make some, and take one apart.
import { createSignal, For, type JSX, Show } from "solid-js";
import { type Call, send } from "../../api/http";
import { Copyable } from "../../parts/basics";
import { CallDrawer } from "../../parts/CallDrawer";
import { TextField } from "../../parts/fields";
import { fieldError, InlineError, toldByField } from "../../parts/states";

const SHOWN = 20;

export function Ids(): JSX.Element {
  const [amount, setAmount] = createSignal("5");
  const [looked, setLooked] = createSignal("");
  const [ids, setIds] = createSignal<string[]>([]);
  const [parts, setParts] = createSignal<Record<string, unknown> | null>(null);
  const [call, setCall] = createSignal<Call | null>(null);
  const [error, setError] = createSignal<unknown>(null);

  const run = async (work: () => Promise<Call>) => {
    setError(null);
    try {
      setCall(await work());
    } catch (problem) {
      setError(problem);
    }
  };
  const make = () =>
    run(async () => {
      const answer = await send<{ ids: string[] }>("POST", `/v1/ids?count=${encodeURIComponent(amount())}`);
      setIds(answer.data.ids);
      setParts(null);
      return answer.call;
    });
  const take = (id: string) =>
    run(async () => {
      setLooked(id);
      const answer = await send<Record<string, unknown>>("GET", `/v1/ids/${encodeURIComponent(id)}`);
      setParts(answer.data);
      return answer.call;
    });
  const submit = (event: SubmitEvent, work: () => Promise<void>) => {
    event.preventDefault();
    void work();
  };

  return (
    <>
      <div class="ids-forms">
        <form class="ids-form" onSubmit={(event) => submit(event, make)} novalidate>
          <TextField label="How many" type="number" min="1" value={amount()} error={fieldError(error(), "count")} onText={setAmount} />
          <button type="submit" class="button primary">
            Make ids
          </button>
        </form>
        <form class="ids-form wide" onSubmit={(event) => submit(event, () => take(looked().trim()))} novalidate>
          <TextField label="Take an id apart" inputmode="numeric" placeholder="an id" value={looked()} error={fieldError(error(), "id")} onText={setLooked} />
          <button type="submit" class="button" disabled={!looked().trim()}>
            Take apart
          </button>
        </form>
      </div>
      <Show when={!toldByField(error(), ["count", "id"])}>
        <InlineError error={error()} />
      </Show>
      <div aria-live="polite">
        <Show when={call()} keyed>
          {(made) => (
            <div class="result">
              <Show when={parts()}>
                {(known) => (
                  <dl class="facts-list">
                    <For each={Object.entries(known())}>
                      {([name, value]) => (
                        <div>
                          <dt>{name.replaceAll("_", " ")}</dt>
                          <dd>{String(value)}</dd>
                        </div>
                      )}
                    </For>
                  </dl>
                )}
              </Show>
              <Show when={!parts()}>
                <ul class="id-list">
                  <For each={ids().slice(0, SHOWN)}>
                    {(id) => (
                      <li>
                        <Copyable text={id} what="the id" />
                        <button type="button" class="button small bare" onClick={() => void take(id)}>
                          Take apart
                        </button>
                      </li>
                    )}
                  </For>
                  <Show when={ids().length > SHOWN}>
                    <li class="quiet">and {ids().length - SHOWN} more, in the answer below</li>
                  </Show>
                </ul>
              </Show>
              <CallDrawer call={made} open />
            </div>
          )}
        </Show>
      </div>
    </>
  );
}
