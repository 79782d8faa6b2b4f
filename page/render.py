"""HTML from templates, with everything that people typed shown as text."""

from __future__ import annotations

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from page.highlight import excerpt, highlight
from texts import counted, p_value_said

HERE = Path(__file__).parent
_SIGN = re.compile(r"[^\w\s]|_")
_environment = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)
_environment.filters |= {"excerpt": excerpt, "highlight": highlight, "counted": counted, "p_value": p_value_said}


def render(template: str, **values: object) -> str:
    """Fill in a template of `page/templates`; every value is escaped.

    Braces become entities too: the page puts the result through a template language of its own, in which they mean
    something.
    """
    html = _environment.get_template(template).render(**values)
    return html.replace("{", "&#123;").replace("}", "&#125;")


def script(name: str) -> str:
    """A script of `page/`, for the part of the page that it belongs to."""
    return (HERE / name).read_text(encoding="utf-8")


def plain_markdown(text: str) -> str:
    """A text as Markdown that shows it as it is: nothing in it becomes bold, HTML or a link."""
    return _SIGN.sub(lambda sign: f"&#{ord(sign[0])};", text)


def duration(seconds: float | None) -> str:
    """A length of time as people say it: "40 s", "3 min", "2 h 5 min"; empty for None."""
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    minutes = round(whole / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
