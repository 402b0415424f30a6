"""Draws the screen of a terminal, read from stdin with its escape sequences, as SVG."""

import sys

from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME
from rich.text import Text

COLUMNS = 80
# rich's own form loads a font from the network
FORM = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""

screen = sys.stdin.read().rstrip("\n")
console = Console(record=True, width=COLUMNS, file=open("/dev/null", "w"), legacy_windows=False, highlight=False)
console.print(Text.from_ansi(screen), soft_wrap=True)
print(console.export_svg(title=sys.argv[1], theme=DEFAULT_TERMINAL_THEME, code_format=FORM, unique_id="cardcase"), end="")
