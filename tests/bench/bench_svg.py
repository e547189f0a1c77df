"""A line chart as SVG text: axes, grid, lines with points, a legend. Pure, small, and without a library."""

import math
from html import escape

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 76, 170, 40, 50
COLOURS = ("#8a8a8a", "#2f7ed8", "#d9480f", "#2b8a3e", "#862e9c", "#c2255c", "#0b7285", "#5c4a1e")


class Axis:
    """Maps values to pixels; `ticks` are (value, text) pairs, made here where none are given."""

    def __init__(self, label, values, first, last, *, log=False, ticks=None):
        self.label, self.log, self.first, self.last = label, log, first, last
        known = [value for value in values if value is not None and math.isfinite(value) and (value > 0 or not log)] or [1]
        low, high = min(known), max(known)
        if ticks is not None:
            low, high = min(low, ticks[0][0]), max(high, ticks[-1][0])
        elif log:
            low, high = 10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high))
        else:
            low = min(low, 0)
        self.low, self.high = low, high if high > low else low + 1
        self.ticks = ticks if ticks is not None else [(value, short(value)) for value in self.round_values()]

    def round_values(self):
        if self.log:
            return [10**power for power in range(round(math.log10(self.low)), round(math.log10(self.high)) + 1)]
        step = 10 ** math.floor(math.log10(self.high - self.low))
        for smaller in (5, 2):
            if (self.high - self.low) / step < 4:
                step /= 10 / smaller if smaller == 5 else 2.5
        first, count = math.ceil(self.low / step), math.floor(self.high / step)
        return [at * step for at in range(first, count + 1)]

    def pixel(self, value):
        if self.log:
            value = max(value, self.low)
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self.first + share * (self.last - self.first), 1)


def short(value):
    if value >= 1000 and value == int(value):
        return f"{int(value):,}"
    return f"{value:g}" if abs(value) < 1e4 else f"{value:,.0f}"


def text(x, y, words, anchor="middle", more=""):
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{more}>{escape(words)}</text>'


def grid(x_axis, y_axis):
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for value, shown in x_axis.ticks:
        at = x_axis.pixel(value)
        yield f'<path class="grid" d="M{at} {TOP}V{bottom}"/>' + text(at, bottom + 16, shown)
    for value, shown in y_axis.ticks:
        at = y_axis.pixel(value)
        yield f'<path class="grid" d="M{LEFT} {at}H{right}"/>' + text(LEFT - 6, at + 4, shown, "end")
    yield text((LEFT + right) / 2, HEIGHT - 12, x_axis.label)
    middle = (TOP + bottom) / 2
    yield text(16, middle, y_axis.label, more=f' transform="rotate(-90 16 {middle})"')


def thing_of(name):
    return name.removesuffix(" p50").removesuffix(" p99")


def line(number, name, colour, points, x_axis, y_axis, marks):
    dash = ' stroke-dasharray="5 3"' if name.endswith("p50") else ""
    pixels = [(x_axis.pixel(x), y_axis.pixel(y)) for x, y in points if y is not None and (y > 0 or not y_axis.log)]
    if pixels:
        path = "M" + "L".join(f"{x} {y}" for x, y in pixels)
        yield f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.8"{dash}/>'
    if marks:
        yield from (f'<circle cx="{x}" cy="{y}" r="2.6" fill="{colour}"/>' for x, y in pixels)
    y = TOP + 12 + 18 * number
    at = WIDTH - RIGHT + 12
    yield f'<path d="M{at} {y - 4}h18" stroke="{colour}" stroke-width="2.4"{dash}/>' + text(at + 24, y, name, "start")


def chart(title, x_label, y_label, series, *, x_log=False, y_log=False, x_ticks=None, marks=True):
    """`series`: (name, [(x, y), ..]) each; a y of None is left out, and so is one of 0 or less on a logarithmic axis."""
    x_axis = Axis(x_label, [x for _, points in series for x, _ in points], LEFT, WIDTH - RIGHT, log=x_log, ticks=x_ticks)
    y_axis = Axis(y_label, [y for _, points in series for _, y in points], HEIGHT - BOTTOM, TOP, log=y_log)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="12" fill="#222">',
        "<style>.grid{stroke:#ddd;stroke-width:1}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        text(LEFT, 24, title, "start", ' font-size="14" font-weight="bold"'),
        *grid(x_axis, y_axis),
    ]
    # A median and a tail of the same thing have one colour.
    things = list(dict.fromkeys(thing_of(name) for name, _ in series))
    for number, (name, points) in enumerate(series):
        colour = COLOURS[things.index(thing_of(name)) % len(COLOURS)]
        parts.extend(line(number, name, colour, points, x_axis, y_axis, marks))
    return "\n".join([*parts, "</svg>"]) + "\n"
