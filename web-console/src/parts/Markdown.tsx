// The little Markdown that blueprints use: paragraphs, lists, fenced code, `code`, **strong** and [links](…). Built
// as elements, never as HTML text, so nothing in a text can become markup.
import { For, type JSX, Match, Switch } from "solid-js";
import { Code } from "./CallDrawer";

type Block = { kind: "code" | "paragraph"; text: string } | { kind: "list"; items: string[] };

export function Markdown(props: { text: string }): JSX.Element {
  return (
    <div class="prose">
      <For each={blocks(props.text)}>
        {(block) => (
          <Switch>
            <Match when={block.kind === "code" && block}>{(code) => <Code text={code().text} what="the example" />}</Match>
            <Match when={block.kind === "list" && block}>
              {(list) => (
                <ul>
                  <For each={list().items}>
                    {(item) => (
                      <li>
                        <Inline text={item} />
                      </li>
                    )}
                  </For>
                </ul>
              )}
            </Match>
            <Match when={block.kind === "paragraph" && block}>
              {(paragraph) => (
                <p>
                  <Inline text={paragraph().text} />
                </p>
              )}
            </Match>
          </Switch>
        )}
      </For>
    </div>
  );
}

const INLINE = /(`[^`]+`|\*\*[^*]+\*\*|\[[^\]]+\]\([^)\s]+\))/;

export function Inline(props: { text: string }): JSX.Element {
  return (
    <For each={props.text.split(INLINE)}>
      {(piece) => {
        if (piece.startsWith("`") && piece.endsWith("`") && piece.length > 2) return <code>{piece.slice(1, -1)}</code>;
        if (piece.startsWith("**") && piece.length > 4) return <strong>{piece.slice(2, -2)}</strong>;
        const link = /^\[([^\]]+)\]\(([^)\s]+)\)$/.exec(piece);
        if (link?.[2] && /^(https?:|\/|#)/.test(link[2])) return <a href={link[2]}>{link[1]}</a>;
        return piece;
      }}
    </For>
  );
}

function blocks(text: string): Block[] {
  const found: Block[] = [];
  let rest = text.trim().split("\n");
  while (rest.length) {
    const line = rest[0] ?? "";
    let end: number;
    if (line.startsWith("```")) {
      const close = rest.findIndex((candidate, index) => index > 0 && candidate.startsWith("```"));
      end = close < 0 ? rest.length : close + 1;
      found.push({ kind: "code", text: rest.slice(1, close < 0 ? rest.length : close).join("\n") });
    } else if (/^[-*] /.test(line)) {
      end = rest.findIndex((candidate) => !/^([-*] | {2})/.test(candidate));
      end = end < 0 ? rest.length : end;
      const items = rest.slice(0, end).reduce<string[]>((sofar, item) => {
        if (/^[-*] /.test(item)) return [...sofar, item.slice(2)];
        return [...sofar.slice(0, -1), `${sofar.at(-1) ?? ""} ${item.trim()}`];
      }, []);
      found.push({ kind: "list", items });
    } else if (line.trim() === "") {
      end = 1;
    } else {
      end = rest.findIndex((candidate) => candidate.trim() === "" || candidate.startsWith("```"));
      end = end < 0 ? rest.length : end;
      found.push({ kind: "paragraph", text: rest.slice(0, end).join(" ") });
    }
    rest = rest.slice(end);
  }
  return found;
}
