// The API reference: /openapi.json as served by this very server, so it is never out of date and needs no internet.
import { createMemo, createResource, createSignal, For, type JSX, Match, Show, Switch } from "solid-js";
import { get, type Method } from "../api/http";
import { LANGUAGES, type Language, snippet } from "../api/snippets";
import { plural } from "../format";
import { Skeleton } from "../parts/basics";
import { Code } from "../parts/CallDrawer";
import { TextField } from "../parts/fields";
import { Icon } from "../parts/icons";
import { Inline, Markdown } from "../parts/Markdown";
import { Empty, ErrorState } from "../parts/states";
import { Tabs } from "../parts/tabs";
import {
  type Document,
  example,
  jsonSchema,
  limits,
  type Operation,
  operations,
  resolve,
  type Schema,
  typeName,
} from "./openapi";
import "../styles/reference.css";

export default function Reference(): JSX.Element {
  const [document_, { refetch }] = createResource(() => get<Document>("/openapi.json"));
  const [filter, setFilter] = createSignal("");
  const groups = createMemo(() => {
    const document = document_.error ? undefined : document_();
    if (!document) return [];
    const words = filter().toLowerCase().split(/\s+/);
    const fits = (operation: Operation) => {
      const text = `${operation.method} ${operation.path} ${operation.summary ?? ""}`.toLowerCase();
      return words.every((word) => text.includes(word));
    };
    return [...operations(document)]
      .map(([name, all]) => ({ name, operations: all.filter(fits) }))
      .filter((group) => group.operations.length > 0);
  });

  return (
    <div class="page">
      <header class="page-head">
        <h1>API reference</h1>
        <p class="promise">
          Everything this console does goes through these calls. The document itself is at{" "}
          <a href="/openapi.json">/openapi.json</a>.
        </p>
      </header>
      <Switch fallback={<Skeleton label="Reading the API" lines={10} tall />}>
        <Match when={document_.error}>
          <ErrorState title="The API document could not be read" error={document_.error} onRetry={() => void refetch()} />
        </Match>
        <Match when={document_()}>
          {(document) => (
            <>
              <TextField label="Filter" placeholder="links, POST, stats…" value={filter()} onText={setFilter} class="reference-filter" />
              <For each={groups()} fallback={<Empty title="No call matches">Fewer words find more.</Empty>}>
                {(group) => (
                  <section class="section">
                    <h2>
                      <span class="group-name">{group.name}</span> <span class="quiet">{plural(group.operations.length, "call")}</span>
                    </h2>
                    <div class="operations">
                      <For each={group.operations}>
                        {(operation) => <OperationItem operation={operation} document={document()} />}
                      </For>
                    </div>
                  </section>
                )}
              </For>
            </>
          )}
        </Match>
      </Switch>
    </div>
  );
}

function OperationItem(props: { operation: Operation; document: Document }): JSX.Element {
  const [open, setOpen] = createSignal(false);
  return (
    <details class="operation" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        <Icon name="arrow" class="turns" />
        <span class={`method ${props.operation.method.toLowerCase()}`}>{props.operation.method}</span>
        <code class="operation-path">{props.operation.path}</code>
        <span class="operation-summary quiet">{props.operation.summary}</span>
      </summary>
      <Show when={open()}>
        <OperationBody operation={props.operation} document={props.document} />
      </Show>
    </details>
  );
}

function OperationBody(props: { operation: Operation; document: Document }): JSX.Element {
  const [language, setLanguage] = createSignal<Language>("curl");
  const body = () => jsonSchema(props.operation.requestBody?.content);
  const call = () => ({
    method: props.operation.method as Method,
    path: props.operation.path,
    ...(body() ? { body: example(props.document, body()) } : {}),
  });
  return (
    <div class="operation-body">
      <Show when={props.operation.description}>{(text) => <Markdown text={text()} />}</Show>
      <Show when={props.operation.parameters?.length}>
        <h4>Parameters</h4>
        <Rows>
          <For each={props.operation.parameters}>
            {(parameter) => (
              <Row
                name={parameter.name}
                type={`${typeName(parameter.schema)}, ${parameter.in}`}
                required={parameter.required ?? false}
                text={[parameter.description, limits(parameter.schema)].filter(Boolean).join(" · ")}
              />
            )}
          </For>
        </Rows>
      </Show>
      <Show when={body()}>
        {(schema) => (
          <>
            <h4>Body</h4>
            <SchemaRows schema={schema()} document={props.document} />
          </>
        )}
      </Show>
      <h4>Answers</h4>
      <For each={Object.entries(props.operation.responses ?? {})}>
        {([status, answer]) => (
          <details class="answer">
            <summary>
              <Icon name="arrow" class="turns" />
              <b>{status}</b> <span class="quiet">{answer.description}</span>
            </summary>
            <Show when={jsonSchema(answer.content)} fallback={<p class="quiet answer-none">No JSON body.</p>}>
              {(schema) => <SchemaRows schema={schema()} document={props.document} />}
            </Show>
          </details>
        )}
      </For>
      <Tabs label="This call" tabs={LANGUAGES} chosen={language()} onChoose={setLanguage}>
        <Code text={snippet(language(), call())} what="the call" />
      </Tabs>
    </div>
  );
}

function SchemaRows(props: { schema: Schema; document: Document }): JSX.Element {
  const known = () => resolve(props.document, props.schema);
  const inner = () => (known().items ? resolve(props.document, known().items) : known());
  const fields = () => Object.entries(inner().properties ?? {});
  return (
    <Show when={fields().length} fallback={<p class="mono">{typeName(props.schema)}</p>}>
      <Show when={known().items}>
        <p class="quiet">A list of:</p>
      </Show>
      <Rows>
        <For each={fields()}>
          {([name, field]) => (
            <Row
              name={name}
              type={typeName(field)}
              required={inner().required?.includes(name) ?? false}
              text={[field.description, limits(field)].filter(Boolean).join(" · ")}
            />
          )}
        </For>
      </Rows>
    </Show>
  );
}

function Rows(props: { children: JSX.Element }): JSX.Element {
  return <dl class="schema">{props.children}</dl>;
}

function Row(props: { name: string; type: string; required: boolean; text: string }): JSX.Element {
  return (
    <div>
      <dt>
        <code>{props.name}</code>
        <Show when={props.required}>
          <span class="required">required</span>
        </Show>
      </dt>
      <dd>
        <span class="mono quiet">{props.type}</span>
        <Show when={props.text}>
          <span class="schema-text">
            <Inline text={props.text} />
          </span>
        </Show>
      </dd>
    </div>
  );
}
