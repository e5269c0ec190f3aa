"""The few pages that visitors of a link may see. No script; one style, whose hash stands in the policy."""

import base64
import hashlib
from html import escape

from twelvefold.kernel.errors import TwelvefoldError
from twelvefold.systems.links.contracts import Paste

_STYLE = """
:root{color-scheme:light dark;--ink:#1d2430;--quiet:#5b6573;--ground:#fbfbfc;--card:#fff;
--line:#dfe3e8;--accent:#2f5bd7;--danger:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e7eaef;--quiet:#9aa4b2;--ground:#12151a;
--card:#1a1f26;--line:#2d343e;--accent:#8fb0ff;--danger:#ff8a80}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:24px;
background:var(--ground);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{width:100%;max-width:560px;background:var(--card);border:1px solid var(--line);
border-radius:12px;padding:32px}
main.wide{max-width:960px}
h1{font-size:20px;margin:0 0 8px;overflow-wrap:anywhere}p{margin:8px 0;color:var(--quiet)}
a{color:var(--accent);overflow-wrap:anywhere}
pre{overflow:auto;background:var(--ground);border:1px solid var(--line);border-radius:8px;padding:16px;
font:14px/1.5 ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere}
label{display:block;margin:16px 0 4px}
input,textarea{width:100%;padding:8px 12px;border:1px solid var(--line);border-radius:8px;
background:var(--ground);color:var(--ink);font:inherit}
button{margin-top:16px;padding:8px 16px;border:0;border-radius:8px;background:var(--accent);
color:var(--card);font:inherit;cursor:pointer}
.error{color:var(--danger)}details{margin-top:24px}dt{color:var(--quiet)}dd{margin:0 0 12px}
"""
_TITLES = {
    404: "There is no such link",
    410: "This link has ended",
    429: "Too many attempts",
    503: "Back in a moment",
}
STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest())


def _page(title: str, body: str, *, wide: bool = False) -> str:
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<meta name="robots" content="noindex"><title>{escape(title)}</title><style>{_STYLE}</style>'
        f"<main{' class=wide' if wide else ''}>{body}</main></html>"
    )


def password_page(error: str) -> str:
    """The form of a link that asks for a password."""
    notice = f'<p class="error" role="alert">{escape(error)}</p>' if error else ""
    return _page(
        "Password",
        "<h1>This link asks for a password</h1><p>Whoever gave you the link can tell you.</p>"
        f'{notice}<form method="post"><label for="password">Password</label>'
        '<input id="password" name="password" type="password" autofocus required autocomplete="off">'
        "<button>Open the link</button></form>",
    )


def info_page(short_url: str, target: str, clicks: int, created: str) -> str:
    """What stands behind `code+`: where a link leads, before anybody follows it."""
    where = (
        f'<a rel="noreferrer nofollow" href="{escape(target)}">{escape(target)}</a>'
        if target
        else "hidden by a password"
    )
    return _page(
        "Where this link leads",
        f"<h1>{escape(short_url)}</h1><dl><dt>leads to</dt><dd>{where}</dd>"
        f"<dt>clicks</dt><dd>{clicks:,}</dd><dt>made on</dt><dd>{escape(created)}</dd></dl>"
        "<details><summary>Report this link</summary>"
        f'<form method="post" action="{escape(short_url.rsplit("/", 1)[-1])}/report">'
        '<label for="reason">What is wrong with it?</label><textarea id="reason" name="reason" rows="3" maxlength="1000" '
        "required></textarea><button>Report</button></form></details>",
    )


def paste_page(paste: Paste) -> str:
    """A text, as text."""
    burnt = (
        "<p>This text was there to be read once. It is deleted now: keep it if you need it.</p>"
        if paste.burn_after_reading
        else ""
    )
    raw = "" if paste.burn_after_reading else f'<p><a href="{escape(paste.raw_url)}">Raw text</a></p>'
    title = escape(paste.syntax or "text")
    return _page(
        f"Paste ({title})", f"<h1>{title}</h1>{burnt}<pre>{escape(paste.text or '')}</pre>{raw}", wide=True
    )


def thanks_page() -> str:
    """After a report."""
    return _page("Thank you", "<h1>Thank you</h1><p>The owner of this server will look at the link.</p>")


def problem_page(error: TwelvefoldError) -> str:
    """An error, for people."""
    title = _TITLES.get(error.status, "That did not work")
    hint = f"<p>{escape(error.hint)}</p>" if error.hint else ""
    return _page(title, f"<h1>{title}</h1><p>{escape(error.message.rstrip('.'))}.</p>{hint}")
