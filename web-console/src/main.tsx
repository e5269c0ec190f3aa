// The console's beginning: the theme before the first paint, then the session, then the page.
import { render } from "solid-js/web";
import { openSession } from "./api/session";
import { App } from "./App";
import { applyTheme } from "./frame/theme";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/frame.css";
import "./styles/parts.css";
import "./styles/controls.css";
import "./styles/dialogs.css";
import "./styles/data.css";
import "./styles/pages.css";
import "./styles/edges.css";

applyTheme();
void openSession();
const root = document.getElementById("root");
if (root) render(() => <App />, root);
