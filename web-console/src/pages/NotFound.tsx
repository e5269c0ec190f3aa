// An address that no page has.
import type { JSX } from "solid-js";
import { Empty } from "../parts/states";
import { Link } from "../router";

export default function NotFound(): JSX.Element {
  return (
    <div class="page">
      <Empty
        title="There is no such page"
        action={
          <Link to="" class="button">
            To the overview
          </Link>
        }
      >
        The address may be mistyped. Press <kbd>/</kbd> to jump to any page.
      </Empty>
    </div>
  );
}
