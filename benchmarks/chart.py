"""A bar chart as SVG, readable on a light page and on a dark one."""

from collections.abc import Mapping
from html import escape

ROW, LEFT, WIDTH, RIGHT = 30, 300, 360, 70
OURS = "Rerank Workbench"


def bar_chart(title: str, values: Mapping[str, float]) -> str:
    """The SVG of a chart with one bar for each name, the app's own in another colour; values are factors."""
    scale = WIDTH / max(values.values())
    height = ROW * (len(values) + 2)
    rows = []
    for number, (name, value) in enumerate(values.items()):
        y = ROW * (number + 1.5)
        colour = "#4f46e5" if name.startswith(OURS) else "#94a3b8"
        rows.append(
            f'<text x="{LEFT - 10}" y="{y + 15}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{LEFT}" y="{y}" width="{value * scale:.1f}" height="{ROW - 10}" rx="3" fill="{colour}"/>'
            f'<text x="{LEFT + value * scale + 8:.1f}" y="{y + 15}">{value:.2f} ×</text>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + RIGHT} {height}" role="img" '
        f'aria-label="{escape(title)}" font-family="system-ui, sans-serif" font-size="13" fill="#64748b">'
        f'<text x="10" y="24" font-size="15" font-weight="600">{escape(title)}</text>{"".join(rows)}</svg>\n'
    )
