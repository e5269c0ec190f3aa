// Data: what is stored of this user's conversations, and whether the chain of hashes over each holds.
import { createEffect, createMemo, createSignal, type JSX, on, Show } from "solid-js";
import { send } from "../../api/http";
import { count, plural } from "../../format";
import { Moment } from "../../parts/basics";
import { type Column, DataTable } from "../../parts/DataTable";
import { createPages } from "../../parts/pages";
import { Empty } from "../../parts/states";
import { toast } from "../../parts/toasts";
import { Api, type Listed, titleOf } from "./api";
import { become, conversationsChanged, openConversation, useMe } from "./state";

const PAGE = 100;
const KINDS = { direct: "Direct", group: "Group", channel: "Channel" };

export function Conversations(): JSX.Element {
  const user = useMe();
  return (
    <Show
      when={user()}
      keyed
      fallback={
        <Empty
          title="Nobody is chosen"
          action={
            <button type="button" class="button" onClick={() => become("ann")}>
              Be ann
            </button>
          }
        >
          Conversations belong to those who are in them. Say above who you are, and theirs are listed here.
        </Empty>
      }
    >
      {(name) => <Table user={name} />}
    </Show>
  );
}

function Table(props: { user: string }): JSX.Element {
  const api = createMemo(() => new Api(props.user));
  const pages = createPages<Listed>(
    api,
    (cursor, signal) => api().conversations(cursor, PAGE, signal),
  );
  createEffect(on(conversationsChanged, () => pages.reload(), { defer: true }));
  const [checking, setChecking] = createSignal("");
  const check = async (listed: Listed) => {
    setChecking(listed.conversation.id);
    try {
      const { data } = await send<{ entries: number; faults: string[] }>("GET", `/v1/chat/conversations/${listed.conversation.id}/audit`);
      if (data.faults.length) toast(`The chain of “${titleOf(listed)}” is broken: ${data.faults[0]}`, { tone: "bad" });
      else toast(`“${titleOf(listed)}”: ${plural(data.entries, "entry", "entries")}, none missing, in order, unchanged.`);
    } catch (error) {
      toast(`It could not be checked: ${(error as Error).message}`, { tone: "bad" });
    }
    setChecking("");
  };
  const open = (listed: Listed) => {
    openConversation(listed.conversation.id);
    document.getElementById("try")?.scrollIntoView({ block: "start" });
  };
  const columns: Column<Listed>[] = [
    {
      id: "title",
      title: "Conversation",
      track: "minmax(0, 2fr)",
      cell: (listed) => (
        <span class="two-lines">
          <span class="clip strong">{titleOf(listed)}</span>
          <span class="clip quiet small-text">
            {KINDS[listed.conversation.kind]}, {plural(listed.conversation.members, "member")}
          </span>
        </span>
      ),
    },
    { id: "role", title: "Your role", track: "96px", wideOnly: true, cell: (listed) => listed.role },
    { id: "entries", title: "Entries", track: "80px", end: true, cell: (listed) => count(listed.last_seq) },
    { id: "made", title: "Begun", track: "104px", end: true, wideOnly: true, cell: (listed) => <Moment at={listed.conversation.created_at} /> },
    {
      id: "check",
      title: "",
      track: "80px",
      end: true,
      cell: (listed) => (
        <button
          type="button"
          class="button small"
          aria-label={`Check the chain of ${titleOf(listed)}`}
          disabled={checking() === listed.conversation.id}
          onClick={() => void check(listed)}
        >
          Check
        </button>
      ),
    },
  ];
  return (
    <DataTable
      label="Conversations"
      noun="conversation"
      columns={columns}
      pages={pages}
      id={(listed) => listed.conversation.id}
      name={(listed) => `${titleOf(listed)}, ${plural(listed.last_seq, "entry", "entries")}`}
      onOpen={open}
      empty={
        <Empty
          title={`${props.user} is in no conversation yet`}
          action={
            <button type="button" class="button" onClick={pages.reload}>
              Look again
            </button>
          }
        >
          Begin one above. It stays for as long as the retention says, in one order, with a hash over each entry.
        </Empty>
      }
    />
  );
}
