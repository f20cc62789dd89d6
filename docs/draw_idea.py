"""Draws idea.svg, the picture of the README, from the plan of a real run: `python docs/draw_idea.py`."""

from itertools import groupby
from pathlib import Path

from spfde_exp.config import compose
from spfde_exp.plan import RunPlan, make_plan

OVERRIDES = ("recipe=cifar100", "sparsity=0.9", "freeze=0.15", "sieve=0.15")

WIDTH, LEFT, RIGHT = 880, 112, 856  # of the picture, and of the panels in it, in pixels
BLUE, INK, SOFT, HATCH = "#0072b2", "#1a1a1a", "#555555", "#8a8a8a"
ROW = 14  # height of a block
FIGURE_TITLE = "One run of SpFDE: what is trained, epoch by epoch"


def element(name: str, content: str = "", **attributes: object) -> str:
    """An SVG element; numbers with one decimal, `font_size=` as `font-size`."""
    texts = {key: f"{value:.1f}" if isinstance(value, float) else value for key, value in attributes.items()}
    listed = " ".join(f'{key.replace("_", "-")}="{value}"' for key, value in texts.items())
    return f"<{name} {listed}>{content}</{name}>" if content else f"<{name} {listed}/>"


class Picture:
    """SVG text, grown element by element over an axis of `epochs`."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.parts: list[str] = []

    def x(self, epoch: float) -> float:
        """Where `epoch` begins."""
        return LEFT + (RIGHT - LEFT) * epoch / self.epochs

    def box(self, first: float, last: float, top: float, height: float, fill: str) -> None:
        """A rectangle over the epochs [first, last)."""
        left, width = self.x(first), self.x(last) - self.x(first)
        self.parts.append(element("rect", x=left, y=top, width=width, height=height, fill=fill))

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1.0) -> None:
        """A straight line between two points."""
        self.parts.append(element("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=colour, stroke_width=width))

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: int = 12,
        anchor: str = "start",
        colour: str = INK,
        bold: bool = False,
    ) -> None:
        """Text with its baseline at `y`."""
        weight = "bold" if bold else "normal"
        self.parts.append(
            element("text", text, x=x, y=y, font_size=size, text_anchor=anchor, fill=colour, font_weight=weight)
        )

    def label(self, x: float, y: float, text: str) -> None:
        """Text on a hatched ground, with a white plate behind it."""
        width = 6.2 * len(text) + 10
        self.parts.append(element("rect", x=x - width / 2, y=y - 13, width=width, height=18, rx=3, fill="#ffffff"))
        self.text(x, y, text, anchor="middle")

    def heading(self, y: float, letter: str, title: str, rest: str) -> None:
        """The line above a panel."""
        strong = element("tspan", f"{letter}  {title}", font_weight="bold", fill=INK, font_size=14)
        soft = element("tspan", rest, fill=SOFT, font_size=13, dx=8)
        self.parts.append(element("text", strong + soft, x=24, y=y))

    def axis(self, bottom: float) -> float:
        """The epochs below all panels; the height of the picture."""
        for epoch in range(0, self.epochs + 1, 20):
            self.line(self.x(epoch), bottom + 2, self.x(epoch), bottom + 7, INK)
            self.text(self.x(epoch), bottom + 20, str(epoch), 11, "middle")
        self.text((LEFT + RIGHT) / 2, bottom + 38, "epoch", 12, "middle")
        return bottom + 52


def draw(plan: RunPlan) -> str:
    """The picture of `plan` as SVG text: blocks, density and training set over the same epochs."""
    picture = Picture(plan.epochs)
    picture.text(24, 34, FIGURE_TITLE, size=18, bold=True)
    picture.text(
        24,
        54,
        "ResNet-32 on CIFAR-100 at 90 % sparsity. Blue is trained; hatched is spared.",
        13,
        colour=SOFT,
    )
    bottom = _blocks(picture, plan, 84)
    bottom = _density(picture, plan, bottom + 36)
    bottom = _examples(picture, plan, bottom + 36)
    height = picture.axis(bottom)
    return "\n".join([*head(FIGURE_TITLE, _said(plan), height), *picture.parts, "</svg>", ""])


def _blocks(picture: Picture, plan: RunPlan, top: float) -> float:
    saved = f"{100 * plan.freeze.reduction():.0f} % of the training FLOPs saved"
    picture.heading(top, "a", "Layer freezing", f"front to back, one block at a time: {saved}")
    top += 10
    names = [*plan.freeze.blocks, "classifier"]
    for row, name in enumerate(reversed(names)):
        index, y = len(names) - 1 - row, top + row * ROW
        picture.box(0, plan.epochs, y, ROW - 1, BLUE)
        picture.text(LEFT - 8, y + 11, name if name == "classifier" else f"block {index + 1}", 11, "end")
    for index, block in enumerate(plan.freeze.ranges()):
        y = top + (len(names) - 1 - index) * ROW
        for first, last in block["frozen"]:
            picture.box(first, last, y, ROW - 1, "#ffffff")
            picture.box(first, last, y, ROW - 1, "url(#spared)")
            picture.text(picture.x(first) - 4, y + 11, str(first), 11, "end", "#ffffff")
    deepest = max(plan.freeze.frozen)
    middle = top + (len(names) - deepest / 2) * ROW
    picture.label(picture.x(0.81 * plan.epochs), middle + 4, "frozen: forward pass only")
    inside = top + (len(names) - 1 - deepest // 2) * ROW
    picture.text(picture.x(0.25 * plan.epochs), inside + 11, "trained", 13, "middle", "#ffffff", bold=True)
    return top + len(names) * ROW


def _density(picture: Picture, plan: RunPlan, top: float) -> float:
    densities = [round(1 - sparsity, 10) for sparsity in plan.schedule.trained]
    changes = [epoch for epoch, update in plan.schedule.updates.items() if update.grow_to < update.prune_to]
    final = f"{100 * densities[-1]:g} %"
    rest = f"pruned to {final} and grown again every {changes[1] - changes[0]} epochs, then at rest"
    picture.heading(top, "b", "Density", rest)
    top, height = top + 10, 90.0
    scale = height / (1.2 * max(densities))
    bottom = top + height
    first = 0
    for density, epochs in groupby(densities):
        last = first + len(list(epochs))
        picture.box(first, last, bottom - density * scale, density * scale, BLUE)
        said = f"{100 * density:g} %" + (" trained" if not first else "")
        picture.text(picture.x((first + last) / 2), bottom - 0.04 * scale, said, 13, "middle", "#ffffff", bold=True)
        first = last
    for epoch in changes[1:]:
        low, high = 1 - plan.schedule.updates[epoch].prune_to, densities[epoch - 1]
        picture.line(picture.x(epoch), bottom - low * scale, picture.x(epoch), bottom - high * scale, "#ffffff", 1.5)
    picture.line(LEFT, bottom, RIGHT, bottom, INK)
    for percent in (0, 5, 10, 15):
        y = bottom - percent / 100 * scale
        picture.line(LEFT - 4, y, LEFT, y, INK)
        picture.text(LEFT - 8, y + 4, f"{percent} %", 11, "end")
    return bottom


def _examples(picture: Picture, plan: RunPlan, top: float) -> float:
    rest = (
        f"every {plan.sieve.every} epochs the {plan.sieve.exchanged:,} easiest leave and as many come back: "
        f"{100 * plan.sieve.removed / plan.sieve.examples:.0f} % saved"
    )
    picture.heading(top, "c", "Data sieving", rest)
    top, height = top + 10, 136.0
    edge = top + plan.sieve.removed / plan.sieve.examples * height
    picture.box(0, plan.epochs, top, edge - top, "url(#spared)")
    picture.box(0, plan.epochs, edge, top + height - edge, BLUE)
    for epoch in plan.sieve_updates():
        for offset, start, end in ((-2.5, edge + 9, edge - 8), (2.5, edge - 8, edge + 9)):
            x, tip = picture.x(epoch) + offset, 4 if end < start else -4
            picture.line(x, start, x, end, "#000000", 1.2)
            picture.parts.append(
                f'<path d="M{x - 2.5:.1f} {end + tip:.1f}L{x:.1f} {end:.1f}L{x + 2.5:.1f} {end + tip:.1f}z"/>'
            )
    kept = plan.sieve.examples - plan.sieve.removed
    picture.text(picture.x(plan.epochs / 2), edge + 62, f"{kept:,} examples trained", 13, "middle", "#ffffff", True)
    picture.text(LEFT - 8, top + 14, f"queue {plan.sieve.removed:,}", 11, "end")
    picture.text(LEFT - 8, edge + 62, "training set", 11, "end")
    return top + height


def _said(plan: RunPlan) -> str:
    cost, freeze = plan.prediction(), plan.freeze
    first = next(epoch for epoch, depth in enumerate(freeze.frozen) if depth)
    return (
        f"Three panels over {plan.epochs} epochs. a: {max(freeze.frozen)} of {len(freeze.blocks)} blocks are "
        f"frozen one after another from epoch {first}. b: the density that is trained falls in steps to the "
        f"target. c: {plan.sieve.removed:,} of {plan.sieve.examples:,} examples wait in a queue and are exchanged "
        f"every {plan.sieve.every} epochs. Together the run takes "
        f"{100 * cost['train_flops'] / cost['train_flops_dense']:.1f} % of the dense training FLOPs."
    )


def head(title: str, said: str, height: float) -> list[str]:
    """The first lines of a picture: its size, `title` and description for those who cannot see it, the hatching."""
    hatch = element("rect", width=7, height=7, fill="#f0f0f0") + element("rect", width=1.6, height=7, fill=HATCH)
    pattern = element(
        "pattern",
        hatch,
        id="spared",
        width=7,
        height=7,
        patternUnits="userSpaceOnUse",
        patternTransform="rotate(45)",
    )
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
        f'height="{height:.0f}" font-family="Helvetica, Arial, sans-serif" role="img" '
        'aria-labelledby="title desc">',
        element("title", title, id="title"),
        element("desc", said, id="desc"),
        f"<defs>{pattern}</defs>",
        f'<rect width="{WIDTH}" height="{height:.0f}" fill="#ffffff"/>',
    ]


if __name__ == "__main__":
    target = Path(__file__).with_name("idea.svg")
    target.write_text(draw(make_plan(compose(OVERRIDES))), encoding="utf-8")
    print(target)
