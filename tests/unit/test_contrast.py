"""Whether what is on the page stands out enough from its ground, by WCAG 2.1: 4.5 to 1 for text, 3 to 1 for edges."""

from __future__ import annotations

import pytest

from page.page import THEME


def colour(name: str, dark: bool) -> str:
    """What the theme's variable comes to, as #rrggbb. One without a dark value of its own has the light one."""
    value = getattr(THEME, f"{name}_dark", None) if dark else None
    value = value or getattr(THEME, name)
    while value.startswith("*"):
        value = colour(value[1:], dark)
    return {"white": "#ffffff"}.get(value, value)


def luminance(value: str) -> float:
    parts = [int(value[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("input_placeholder_color", 4.5),
        ("body_text_color_subdued", 4.5),
        ("checkbox_border_color", 3),
        ("checkbox_border_color_hover", 3),
        ("input_border_color_focus", 3),
    ],
)
def test_it_stands_out_from_the_ground_of_a_box(name: str, least: float, dark: bool) -> None:
    one, other = sorted(luminance(colour(it, dark)) for it in (name, "input_background_fill"))
    assert (other + 0.05) / (one + 0.05) >= least
