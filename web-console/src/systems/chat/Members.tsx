// Who is in a conversation, with what role, and how far they have read; take in, give a role, put out, ban.
import { createResource, createSignal, For, type JSX, Show, Suspense } from "solid-js";
import { count } from "../../format";
import { type Column, DataTable } from "../../parts/DataTable";
import { Confirm, Dialog } from "../../parts/dialog";
import { SelectField, TextField } from "../../parts/fields";
import { createPages } from "../../parts/pages";
import { fieldError, InlineError, toldByField } from "../../parts/states";
import type { Member, Role } from "./api";
import { Face } from "./ChatWindow";
import type { Chat } from "./chat";
import type { Room } from "./room";
import { Settings } from "./Settings";

const ROLES = [
  { value: "member", title: "Member" },
  { value: "moderator", title: "Moderator" },
  { value: "owner", title: "Owner" },
];
const TITLES: Record<Role, string> = { member: "Member", moderator: "Moderator", owner: "Owner" };

export function Members(props: { chat: Chat; room: Room; onClose: () => void }): JSX.Element {
  const { chat, room } = props;
  const pages = createPages<Member>(
    () => null,
    (cursor, signal) => chat.api.members(room.id, cursor, signal),
  );
  const [chosen, setChosen] = createSignal<Member | null>(null);
  const [leaving, setLeaving] = createSignal(false);
  const [error, setError] = createSignal<unknown>(null);
  const moderates = () => room.listed.role !== "member" && room.listed.conversation.kind !== "direct";
  const [bans, { refetch }] = createResource(moderates, () => chat.api.bans(room.id));

  const act = async (work: Promise<{ call: Parameters<Chat["setCall"]>[0] }>) => {
    setError(null);
    try {
      chat.setCall((await work).call);
      setChosen(null);
      pages.reload();
      void refetch();
      return true;
    } catch (problem) {
      setError(problem);
      return false;
    }
  };
  const columns: Column<Member>[] = [
    {
      id: "user",
      title: "Name",
      track: "minmax(0, 2fr)",
      cell: (member) => (
        <span class="member-name">
          <Face name={member.user} online={chat.online[member.user]} />
          <span class="two-lines">
            <span class="clip">
              {member.user}
              <Show when={member.user === room.user}>
                <span class="quiet"> (you)</span>
              </Show>
            </span>
            <span class="clip quiet small-text">
              <Show when={member.role !== "member"}>
                <span class="narrow-only">{TITLES[member.role]}. </span>
              </Show>
              {readWords(room, member)}
            </span>
          </span>
        </span>
      ),
    },
    { id: "role", title: "Role", track: "96px", wideOnly: true, cell: (member) => TITLES[member.role] },
    {
      id: "act",
      title: "",
      track: "88px",
      end: true,
      cell: (member) => (
        <Show when={moderates() && member.user !== room.user}>
          <button type="button" class="button small" aria-label={`Manage ${member.user}`} onClick={() => setChosen(member)}>
            Manage
          </button>
        </Show>
      ),
    },
  ];
  return (
    <Dialog title={`Members (${count(room.listed.conversation.members)})`} kind="sheet" onClose={props.onClose}>
      <Show when={moderates() && !room.gone()}>
        <Settings chat={chat} room={room} />
        <Add
          error={error()}
          onAdd={(user) => act(chat.api.add(room.id, user))}
        />
      </Show>
      <Show when={error() && !toldByField(error(), ["user"])}>
        <InlineError error={error()} />
      </Show>
      <DataTable
        label="Members"
        noun="member"
        columns={columns}
        pages={pages}
        id={(member) => member.user}
        name={(member) => `${member.user}, ${TITLES[member.role]}`}
        {...(moderates() ? { onOpen: (member: Member) => member.user !== room.user && setChosen(member) } : {})}
        empty={<p class="quiet">Nobody is here.</p>}
      />
      <Suspense>
        <Show when={moderates() && !bans.error && bans()?.length}>
          <section class="stack">
            <h3>Banned</h3>
            <ul class="ban-list">
              <For each={bans()}>
                {(ban) => (
                  <li>
                    <span class="clip">
                      {ban.user} <span class="quiet small-text">by {ban.by}</span>
                    </span>
                    <button type="button" class="button small" onClick={() => void act(chat.api.unban(room.id, ban.user))}>
                      Lift the ban
                    </button>
                  </li>
                )}
              </For>
            </ul>
          </section>
        </Show>
      </Suspense>
      <Show when={room.listed.conversation.kind !== "direct" && !room.gone()}>
        <div class="dialog-acts">
          <button type="button" class="button danger" onClick={() => setLeaving(true)}>
            Leave this conversation
          </button>
        </div>
      </Show>
      <Show when={chosen()} keyed>
        {(member) => <OneMember member={member} error={error()} onAct={act} chat={chat} room={room} onClose={() => setChosen(null)} />}
      </Show>
      <Show when={leaving()}>
        <Confirm
          question={`Leave “${room.listed.conversation.name || "this group"}”?`}
          act="Leave"
          onClose={() => setLeaving(false)}
          onConfirm={() => void act(chat.api.leave(room.id)).then((left) => left && props.onClose())}
        >
          You see nothing of what is said after that. Somebody in it can take you in again.
        </Confirm>
      </Show>
    </Dialog>
  );
}

function Add(props: { error: unknown; onAdd: (user: string) => Promise<boolean> }): JSX.Element {
  const [name, setName] = createSignal("");
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    if (name().trim() && (await props.onAdd(name().trim()))) setName("");
  };
  return (
    <form class="member-add" onSubmit={(event) => void submit(event)} novalidate>
      <TextField label="Take somebody in" placeholder="carol" value={name()} error={fieldError(props.error, "user")} onText={setName} />
      <button type="submit" class="button primary" disabled={!name().trim()}>
        Take in
      </button>
    </form>
  );
}

interface OneProps {
  chat: Chat;
  room: Room;
  member: Member;
  error: unknown;
  onAct: (work: Promise<{ call: Parameters<Chat["setCall"]>[0] }>) => Promise<boolean>;
  onClose: () => void;
}

function OneMember(props: OneProps): JSX.Element {
  const { api } = props.chat;
  const [role, setRole] = createSignal<string>(props.member.role);
  return (
    <Dialog title={props.member.user} onClose={props.onClose}>
      <div class="member-role">
        <SelectField label="Role" value={role()} options={ROLES} onChoose={setRole} />
        <button
          type="button"
          class="button"
          disabled={role() === props.member.role}
          onClick={() => void props.onAct(api.giveRole(props.room.id, props.member.user, role() as Role))}
        >
          Give this role
        </button>
      </div>
      <InlineError error={props.error} />
      <p class="quiet small-text">Whoever is put out sees nothing after that; whoever is banned cannot come back until the ban is lifted.</p>
      <div class="dialog-acts">
        <button type="button" class="button danger" onClick={() => void props.onAct(api.putOut(props.room.id, props.member.user))}>
          Put {props.member.user} out
        </button>
        <button type="button" class="button danger" onClick={() => void props.onAct(api.ban(props.room.id, props.member.user))}>
          Ban {props.member.user}
        </button>
      </div>
    </Dialog>
  );
}

function readWords(room: Room, member: Member): string {
  const read = Math.max(member.read_seq, room.marks.readBy(member.user));
  if (read >= room.listed.last_seq) return "Has read all";
  return read ? `Has read to ${count(read)}` : "Has read nothing";
}
