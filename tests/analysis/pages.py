"""Pages of HTML as trees of elements, with the standard library's parser, which forgives nothing here."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "link", "img", "br"}


@dataclass
class Element:
    """An element; its content is texts and elements."""

    tag: str
    attributes: dict[str, str]
    content: "list[Element | str]" = field(default_factory=list)

    def all(self, *tags: str) -> "list[Element]":
        """All elements inside with one of these tags, in the page's order."""
        return [one for one in self._inside() if not tags or one.tag in tags]

    def one(self, tag: str) -> "Element":
        """The only one."""
        (found,) = self.all(tag)
        return found

    def _inside(self) -> "Iterator[Element]":
        for one in self.content:
            if isinstance(one, Element):
                yield one
                yield from one._inside()

    @property
    def text(self) -> str:
        """All texts inside, with single spaces."""
        return " ".join(self._raw().split())

    def _raw(self) -> str:
        return "".join(one if isinstance(one, str) else one._raw() for one in self.content)

    def has(self, name: str) -> bool:
        """Whether it is of a class."""
        return name in self.attributes.get("class", "").split()

    def part(self, name: str) -> str:
        """Text of the only element inside that is of a class; empty if there is none."""
        found = [one.text for one in self._inside() if one.has(name)]
        assert len(found) < 2
        return found[0] if found else ""


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute of {tag} twice"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].content.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self.open[-1].content.append(data)


def parse(text: str) -> Element:
    """The tree of a page, every element of which is closed where it should be."""
    parser = _Parser()
    parser.feed(text)
    parser.close()
    assert parser.open == [parser.root], f"not closed: {[element.tag for element in parser.open]}"
    return parser.root.one("html")


def read(path: Path) -> Element:
    """The tree of a file."""
    return parse(path.read_text(encoding="utf-8"))
